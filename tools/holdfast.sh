#!/bin/sh
# Starts Holdfast: `holdfast agent` the agent, which does without the command-line library, all else the command.
set -eu
# No program is started that need not be: each is waited for where a guest waits for the agent.
bin=$0
case $bin in
  /*/bin/*) [ ! -L "$bin" ] || bin=$(readlink -f "$bin") ;;
  *) bin=$(readlink -f "$bin") ;;
esac
build=@BUILD@
lib=${bin%/bin/*}/lib/$build # a later build has another one, and leaves this one alone
home=@JAVA_HOME@ # where the JDK was when this was built
[ -x "$home/bin/java" ] || home=$("$lib/find-jdk")
main=io.holdfast.cli/io.holdfast.cli.Holdfast
heap=64m
statistics=-XX:-UsePerfData # a command writes no file that it was not asked for, in /tmp neither
native=io.holdfast.linux,org.cryptomator.jfuse.linux.amd64
cache=$lib/command.aot # what each command loads and links when it starts
case " $* " in
  *' kho '*) heap=512m ;; # what unpacks a kernel may take 128 MiB
esac
if [ "${1:-}" = agent ]; then
  shift
  main=io.holdfast.agent/io.holdfast.agent.Agent
  native=io.holdfast.linux
  statistics=-XX:+UsePerfData # so that jcmd(1) lists it
  # On a new kernel guests may be waiting for their QEMUs, of which nothing has been read yet: that is done while the JVM starts, and
  # gives way to it. In a shell of its own, as the agent looks after its own children only.
  [ -e /run/holdfast/agent.lock ] || (nice -n 19 qemu-system-x86_64 -version >/dev/null 2>&1 &)
  heap=512m # for the plan of another kernel, which unpacks that; else it needs a fraction
  cache=$lib/agent.aot
fi
[ -e "$cache" ] || cache=
# The cache names the modules by path and time, and the JVM's build: where one differs Java starts without it, only slower. Relative
# paths would outlive a move, but an agent whose folder is replaced while it runs could load nothing more.
# Small and quick to start: one collector thread, the first compiler only.
exec "$home/bin/java" ${cache:+"-XX:AOTCache=$cache" -Xlog:aot=off -Xlog:cds=off} --module-path "$lib" "--enable-native-access=$native" \
  -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $statistics "-Xmx$heap" -m "$main" "$@"
