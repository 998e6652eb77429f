// The test guest: all of its user space, as PID 1 of an initramfs.
//
// It does checkable things and leaves the checking to whoever watches from outside:
//   heartbeat  a counter in one page of RAM, incremented as fast as one vCPU can;
//   pattern    pages of RAM that are rewritten all the time, each word computable;
//   chain      numbered records on /dev/vda, fsynced, then told to the console;
//   network    where it is told an address: streams and numbered datagrams, each byte computable;
//   watch      once a second: CPUID, the page's own address, the kernel's complaints.
// The layout of everything it writes is in README.md beside this file; observers are written from that.
//
// A thread that dies takes PID 1 and with it the kernel down: with panic=-1 the guest then starts
// again under another boot id, which no observer can miss.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { PAGE = 4096, WORDS = PAGE / 8, SECTOR = 512, SECTOR_WORDS = SECTOR / 8 };
enum { PATTERN_MS = 4, CHAIN_MS = 10, WATCH_MS = 1000, DATAGRAM_MS = 1 };
enum { MAGIC_HEARTBEAT = 0 /* to 3 */, MAGIC_PATTERN = 4, MAGIC_DISK = 5 };

struct heartbeat { // README.md: "Heartbeat page"
  uint64_t magic[4];
  uint64_t address;
  uint64_t count;
  uint64_t boot;
  uint64_t clock_ns;
  uint64_t cpuid_digest;
  uint64_t cpuid_runs;
  uint64_t pattern_rewrites;
  uint64_t pattern_pages;
  uint64_t pattern_address;
  uint64_t pattern_failures;
  uint64_t disk_sequence;
  uint64_t problems;
  uint64_t largest_gap_ns;
};

static volatile struct heartbeat *heart;
static uint64_t boot;
static uint64_t pattern_pages;
static volatile uint64_t (*pattern)[WORDS];
static int console = 2;
static int disk = -1;
static uint64_t disk_slots;
static long cpus;

// ---- arithmetic that README.md promises ----

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15;

static uint64_t mix(uint64_t z) { // the finalizer of splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Volatile, so that the magics are computed when the guest runs and lie nowhere in its image.
static volatile uint64_t magic_seed = 0x484f4c4446415354;

static uint64_t magic(unsigned k) { return mix(magic_seed + k); }

static uint64_t page_seed(uint64_t index, uint64_t generation) {
  return mix(mix(mix(boot) ^ index) ^ generation);
}

static uint64_t word_of(uint64_t seed, unsigned word) { return mix(seed + word * GOLDEN); }

// ---- console ----

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// One line by one write: the tty layer keeps concurrent writes apart.
static void say(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length++] = '\n';
  for (int done = 0; done < length;) {
    ssize_t n = write(console, line + done, length - done);
    if (n > 0) done += n;
    else if (errno != EINTR && errno != EAGAIN) return;
  }
}

static void problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Something that should not be, but that the guest lives with: counted for the observer.
static void problem(const char *format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  __atomic_fetch_add(&heart->problems, 1, __ATOMIC_SEQ_CST);
  say("problem %s", text);
}

static void die(const char *what) {
  say("fatal %s: %s", what, strerror(errno));
  usleep(200000); // time for the line to leave the UART before the kernel panics over PID 1
  _exit(1);
}

static void pause_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&t, &t) && errno == EINTR) {
  }
}

static uint64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// ---- memory ----

static uint64_t physical(volatile void *page) {
  static int pagemap = -1;
  if (pagemap < 0 && (pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) < 0)
    die("open /proc/self/pagemap");
  uint64_t entry;
  if (pread(pagemap, &entry, 8, (uintptr_t)page / PAGE * 8) != 8) die("read /proc/self/pagemap");
  if (!(entry >> 63)) die("a locked page is not present");
  return (entry & ((1ull << 55) - 1)) * PAGE;
}

// Memory that stays where it is: locked, in small pages, and out of compaction's reach (see main).
static void *locked(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  if (mlock(memory, bytes)) die("mlock");
  return memory;
}

// ---- heartbeat ----

// At ordinary priority: on one vCPU, nice -20 made each record of the chain wait four scheduler ticks (25 a
// second instead of 91) and the heartbeat was no steadier for it, as the others mostly sleep.

static void *beat(void *unused) {
  (void)unused;
  uint64_t last = clock_ns(), largest = 0;
  for (uint64_t count = 1;; count++) {
    heart->count = count;
    uint64_t now = clock_ns();
    heart->clock_ns = now;
    if (now < last) problem("clock went back by %" PRIu64 " ns", last - now);
    else if (now - last > largest) heart->largest_gap_ns = largest = now - last;
    last = now;
  }
  return NULL;
}

// ---- pattern ----

static void write_page(uint64_t index, uint64_t generation) {
  volatile uint64_t *page = pattern[index];
  uint64_t seed = page_seed(index, generation);
  page[3] = generation; // begin
  for (unsigned w = 4; w < WORDS - 1; w++) page[w] = word_of(seed, w);
  page[WORDS - 1] = generation; // end
}

static bool verify_page(uint64_t index, uint64_t generation) {
  volatile uint64_t *page = pattern[index];
  uint64_t seed = page_seed(index, generation);
  bool right = page[0] == magic(MAGIC_PATTERN) && page[1] == boot && page[2] == index && page[3] == generation
               && page[WORDS - 1] == generation;
  for (unsigned w = 4; right && w < WORDS - 1; w++) right = page[w] == word_of(seed, w);
  return right;
}

static void make_pattern(void) {
  pattern = locked(pattern_pages * PAGE);
  for (uint64_t i = 0; i < pattern_pages; i++) {
    pattern[i][1] = boot;
    pattern[i][2] = i;
    write_page(i, 1);
    pattern[i][0] = magic(MAGIC_PATTERN);
  }
}

static void *rewrite(void *unused) {
  (void)unused;
  for (uint64_t done = 0;; done++) {
    uint64_t index = done % pattern_pages, generation = 1 + done / pattern_pages;
    if (!verify_page(index, generation)) {
      heart->pattern_failures++;
      if (heart->pattern_failures <= 16) say("wrong pattern page %" PRIu64 " generation %" PRIu64, index, generation);
    }
    write_page(index, generation + 1);
    heart->pattern_rewrites = done + 1;
    pause_ms(PATTERN_MS);
  }
  return NULL;
}

// ---- disk and console ----

static void store(uint64_t n, uint64_t tsc, uint64_t before, uint64_t chain) {
  static uint64_t record[SECTOR_WORDS] __attribute__((aligned(PAGE)));
  record[0] = magic(MAGIC_DISK);
  record[1] = boot;
  record[2] = n;
  record[3] = tsc;
  record[4] = before;
  record[5] = chain;
  for (unsigned w = 6; w < SECTOR_WORDS; w++) record[w] = word_of(chain, w);
  // The same record until it is on the disk: a failed write must not look like a skipped number.
  while (pwrite(disk, record, SECTOR, n % disk_slots * SECTOR) != SECTOR || fsync(disk)) {
    problem("disk: record %" PRIu64 ": %s", n, strerror(errno));
    pause_ms(CHAIN_MS);
  }
  heart->disk_sequence = n;
}

static void *chain(void *unused) {
  (void)unused;
  uint64_t last = boot;
  for (uint64_t n = 1;; n++) {
    uint64_t tsc = __rdtsc(); // never the same in two processes that both believe to run this guest
    uint64_t next = mix(mix(last ^ n) ^ tsc);
    if (disk >= 0) store(n, tsc, last, next);
    say("seq %" PRIu64 " %016" PRIx64, n, next);
    last = next;
    pause_ms(CHAIN_MS);
  }
  return NULL;
}

// ---- network ----

enum { PORT_SENDS = 7001, PORT_VERIFIES = 7002, PORT_DATAGRAMS = 7003, PORT_ARRIVED = 7004 };
enum { STREAM_BYTES = 16 * 1024, ACKNOWLEDGE = 64 * 1024, DATAGRAM_WORDS = 32, MOST_DATAGRAMS = 1 << 20 };

// The datagrams of one peer, by its seed; another seed begins anew.
static struct flow {
  uint64_t seed;
  struct sockaddr_in peer;
  uint64_t sent, doubled, wrong;
  uint64_t arrived[MOST_DATAGRAMS / 64]; // bit n: the peer's datagram n
} flow;
static pthread_mutex_t flow_lock = PTHREAD_MUTEX_INITIALIZER;
static int datagrams;

static void start(void *(*body)(void *), void *argument, bool heartbeat, bool first_cpu);

static bool read_fully(int fd, void *into, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = read(fd, (char *)into + done, bytes - done);
    if (n > 0) done += n;
    else if (n == 0 || errno != EINTR) return false;
  }
  return true;
}

static bool write_fully(int fd, const void *from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = send(fd, (const char *)from + done, bytes - done, MSG_NOSIGNAL);
    if (n >= 0) done += n;
    else if (errno != EINTR) return false;
  }
  return true;
}

// A connection that fails is the peer's to notice; what it carried is checked on both ends.

static void *send_stream(void *argument) { // the stream of the peer's seed, until the peer goes
  int fd = (intptr_t)argument;
  uint64_t seed, words[STREAM_BYTES / 8];
  bool open = read_fully(fd, &seed, sizeof seed);
  for (uint64_t w = 0; open;) {
    for (unsigned i = 0; i < STREAM_BYTES / 8; i++) words[i] = mix(seed + w++ * GOLDEN);
    open = write_fully(fd, words, sizeof words);
  }
  close(fd);
  return NULL;
}

static void *verify_stream(void *argument) { // the same, the other way; says how many bytes were right
  int fd = (intptr_t)argument;
  uint64_t seed, right = 0, told = 0;
  unsigned char bytes[STREAM_BYTES];
  bool open = read_fully(fd, &seed, sizeof seed);
  while (open) {
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    for (ssize_t i = 0; i < n; i++, right++) {
      uint64_t word = mix(seed + right / 8 * GOLDEN);
      if (bytes[i] == (unsigned char)(word >> right % 8 * 8)) continue;
      problem("net: byte %" PRIu64 " of stream %016" PRIx64 " is wrong", right, seed);
      open = false;
      break;
    }
    if (n <= 0) open = false;
    if (n == 0 || right - told >= ACKNOWLEDGE) {
      if (!write_fully(fd, &right, sizeof right)) open = false;
      told = right;
    }
  }
  close(fd);
  return NULL;
}

static void *tell_arrived(void *argument) { // what has come of the peer's datagrams
  int fd = (intptr_t)argument;
  struct flow *now = malloc(sizeof *now);
  if (!now) die("malloc");
  pthread_mutex_lock(&flow_lock);
  *now = flow;
  pthread_mutex_unlock(&flow_lock);
  uint64_t head[] = {now->seed, now->sent, now->doubled, now->wrong};
  if (write_fully(fd, head, sizeof head)) write_fully(fd, now->arrived, sizeof now->arrived);
  free(now);
  close(fd);
  return NULL;
}

static uint64_t datagram_word(uint64_t seed, uint64_t n, unsigned word) {
  return word == 0 ? seed : word == 1 ? n : mix(mix(seed ^ mix(n)) + word * GOLDEN);
}

static void take_datagram(const uint64_t *words, ssize_t bytes, const struct sockaddr_in *peer) {
  uint64_t seed = words[0], n = words[1];
  bool right = bytes == DATAGRAM_WORDS * 8 && n < MOST_DATAGRAMS;
  for (unsigned w = 2; right && w < DATAGRAM_WORDS; w++) right = words[w] == datagram_word(seed, n, w);
  if (right && seed != flow.seed) {
    memset(&flow, 0, sizeof flow);
    flow.seed = seed;
    flow.peer = *peer;
  }
  if (!right) flow.wrong++;
  else if (flow.arrived[n / 64] >> n % 64 & 1) flow.doubled++;
  else flow.arrived[n / 64] |= 1ull << n % 64;
}

static void *receive_datagrams(void *unused) {
  (void)unused;
  for (;;) {
    uint64_t words[DATAGRAM_WORDS + 1] = {0};
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    ssize_t n = recvfrom(datagrams, words, sizeof words, 0, (struct sockaddr *)&peer, &length);
    if (n < 0) continue; // an answer that there was nobody (ICMP): the peer has gone
    pthread_mutex_lock(&flow_lock);
    take_datagram(words, n, &peer);
    pthread_mutex_unlock(&flow_lock);
  }
  return NULL;
}

static void *send_datagrams(void *unused) { // under the seed's complement: never taken for the peer's own
  (void)unused;
  for (;; pause_ms(DATAGRAM_MS)) {
    pthread_mutex_lock(&flow_lock);
    uint64_t seed = ~flow.seed, n = flow.sent;
    struct sockaddr_in peer = flow.peer;
    bool wanted = flow.seed && n < MOST_DATAGRAMS;
    if (wanted) flow.sent++;
    pthread_mutex_unlock(&flow_lock);
    if (!wanted) continue;
    uint64_t words[DATAGRAM_WORDS];
    for (unsigned w = 0; w < DATAGRAM_WORDS; w++) words[w] = datagram_word(seed, n, w);
    while (sendto(datagrams, words, sizeof words, 0, (struct sockaddr *)&peer, sizeof peer) < 0) {
      if (errno == ECONNREFUSED || errno == EHOSTUNREACH) break; // the peer has gone
      if (errno != EINTR) problem("net: datagram %" PRIu64 ": %s", n, strerror(errno));
      pause_ms(DATAGRAM_MS);
    }
  }
  return NULL;
}

static int bound(int type, int port) {
  int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), size = 4 << 20, yes = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (fd < 0) die("socket");
  // Room for what comes while a busy host keeps a vCPU waiting: what is lost then was not lost on the way.
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
  return fd;
}

struct service {
  int port;
  void *(*body)(void *);
};

static void *serve(void *argument) {
  const struct service *service = argument;
  int listener = bound(SOCK_STREAM, service->port), yes = 1;
  if (listen(listener, 64)) die("listen");
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) continue; // gone before it was taken
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    start(service->body, (void *)(intptr_t)fd, false, false);
  }
  return NULL;
}

static void set_address(int index, const char *text) { // ADDR/PREFIX of interface eth<index>
  char address[INET_ADDRSTRLEN];
  unsigned prefix;
  struct ifreq request;
  struct sockaddr_in *value = (struct sockaddr_in *)&request.ifr_addr;
  memset(&request, 0, sizeof request);
  snprintf(request.ifr_name, sizeof request.ifr_name, "eth%d", index);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  value->sin_family = AF_INET;
  if (sscanf(text, "%15[0-9.]/%u", address, &prefix) != 2 || prefix < 1 || prefix > 32
      || inet_pton(AF_INET, address, &value->sin_addr) != 1)
    die("holdfast.net is no ADDR/PREFIX[,ADDR/PREFIX...]");
  if (ioctl(fd, SIOCSIFADDR, &request)) die("address of eth");
  value->sin_addr.s_addr = htonl(0xffffffffu << (32 - prefix));
  if (ioctl(fd, SIOCSIFNETMASK, &request)) die("prefix of eth");
  if (ioctl(fd, SIOCGIFFLAGS, &request)) die("flags of eth");
  request.ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request)) die("eth up");
  close(fd);
}

static void start_network(char *addresses) {
  static const struct service services[] = {
      {PORT_SENDS, send_stream}, {PORT_VERIFIES, verify_stream}, {PORT_ARRIVED, tell_arrived}};
  int index = 0;
  for (char *each = strtok(addresses, ","); each; each = strtok(NULL, ",")) set_address(index++, each);
  datagrams = bound(SOCK_DGRAM, PORT_DATAGRAMS);
  start(receive_datagrams, NULL, false, false);
  start(send_datagrams, NULL, false, false);
  for (unsigned i = 0; i < sizeof services / sizeof *services; i++)
    start(serve, (void *)&services[i], false, false);
}

// ---- CPUID ----

static void digest(uint64_t *hash, const uint32_t *values, unsigned count) { // FNV-1a, byte by byte
  const unsigned char *bytes = (const unsigned char *)values;
  for (unsigned i = 0; i < count * 4; i++) *hash = (*hash ^ bytes[i]) * 0x100000001b3;
}

// What XCR0 and IA32_XSS may switch on.
static uint64_t xsave_components(void) {
  uint32_t user[4], system[4];
  __cpuid_count(0xd, 0, user[0], user[1], user[2], user[3]);
  __cpuid_count(0xd, 1, system[0], system[1], system[2], system[3]);
  return (uint64_t)(user[3] | system[3]) << 32 | user[0] | system[2];
}

// True while further subleaves of this leaf follow.
static bool add_leaf(uint64_t *hash, uint32_t leaf, uint32_t subleaf) {
  uint32_t v[6] = {leaf, subleaf};
  __cpuid_count(leaf, subleaf, v[2], v[3], v[4], v[5]);
  uint32_t *a = &v[2], *b = &v[3], *c = &v[4], *d = &v[5];
  bool more = false;
  switch (leaf) {
    case 1:
      *b &= 0x00ffffff;  // initial APIC id
      *c &= ~(1u << 27); // OSXSAVE: what the kernel switched on, not what the CPU has
      break;
    case 4: case 0x8000001d: more = *a & 0x1f; break; // caches, until one of type none
    case 7:
      *c &= ~(1u << 4); // OSPKE, likewise
      more = subleaf == 0 && *a;
      break;
    case 0xb: case 0x1f: case 0x80000026:
      *d = 0; // x2APIC id
      more = *c >> 8 & 0xff;
      break;
    case 0xd:
      if (subleaf < 2) *b = 0; // size of what is switched on now
      // QEMU 11.1 under TCG tells where components would be that the CPU does not have, which no program asks for.
      if (subleaf > 1 && !(xsave_components() >> subleaf & 1)) memset(&v[2], 0, 4 * sizeof v[0]);
      more = subleaf < 62;
      break;
    case 0x8000001e: *a = 0; break; // extended APIC id
    case 0xf: case 0x10: case 0x12: case 0x14: case 0x17: case 0x18: more = subleaf < 3; break;
  }
  digest(hash, v, 6);
  return more;
}

static uint64_t cpuid_digest(void) {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint32_t base = 0;; base = 0x80000000) {
    uint32_t last = __get_cpuid_max(base, NULL);
    for (uint32_t leaf = base; leaf >= base && leaf <= last && leaf - base < 0x100; leaf++)
      for (uint32_t subleaf = 0; add_leaf(&hash, leaf, subleaf) && subleaf < 64;) subleaf++;
    if (base) return hash;
  }
}

// ---- watch ----

static void read_kernel_log(int kmsg, bool heed) {
  char record[1024];
  for (ssize_t n; (n = read(kmsg, record, sizeof record - 1)) > 0 || errno == EPIPE;) {
    if (n <= 0) continue; // EPIPE: overtaken, reading goes on with what is there
    record[n] = 0;
    char *text = strchr(record, ';');
    if (!heed || !text || (atoi(record) & 7) > 4 /* warning */) continue;
    text[strcspn(text, "\n")] = 0;
    problem("kernel: %s", text + 1);
  }
}

static void *watch(void *unused) {
  (void)unused;
  int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (kmsg >= 0) read_kernel_log(kmsg, false); // what booting had to say is not ours
  for (;;) {
    pause_ms(WATCH_MS);
    heart->cpuid_digest = cpuid_digest();
    heart->cpuid_runs++;
    uint64_t now_at = physical(heart);
    if (now_at != heart->address) {
      problem("the heartbeat page moved from %" PRIx64 " to %" PRIx64, heart->address, now_at);
      heart->address = now_at;
    }
    if (kmsg >= 0) read_kernel_log(kmsg, true);
  }
  return NULL;
}

// ---- start ----

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) say("note: %s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
}

static void raw(int tty) { // newlines as they are
  struct termios t;
  if (tcgetattr(tty, &t)) return;
  cfmakeraw(&t);
  t.c_cflag |= CLOCAL;
  tcsetattr(tty, TCSANOW, &t);
}

static void open_console(void) {
  int fd = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return; // stays on what the kernel gave: better than nothing
  raw(fd);
  console = fd;
}

static void load_modules(void) {
  FILE *order = fopen("/modules/order", "re"); // dependencies first, written by the build
  char name[256];
  while (order && fgets(name, sizeof name, order)) {
    name[strcspn(name, "\n")] = 0;
    char path[300];
    snprintf(path, sizeof path, "/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) say("note: module %s: %s", name, strerror(errno));
    if (fd >= 0) close(fd);
  }
  if (order) fclose(order);
}

static void open_disk(void) {
  disk = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
  // SCSI disks show up some time after their driver is loaded.
  for (int tries = 0; disk < 0 && tries < 200 && !access("/sys/class/scsi_host/host0", F_OK); tries++) {
    disk = open("/dev/sda", O_RDWR | O_DIRECT | O_CLOEXEC);
    if (disk < 0) usleep(10 * 1000);
  }
  if (disk < 0) return;
  uint64_t bytes;
  if (ioctl(disk, BLKGETSIZE64, &bytes)) die("size of /dev/vda");
  disk_slots = bytes / SECTOR;
}

// The value of name=VALUE on the kernel's command line; empty if it isn't there.
static const char *option_text(const char *name) {
  static char line[4096];
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
  if (fd >= 0) close(fd);
  line[n > 0 ? n : 0] = 0;
  size_t length = strlen(name);
  for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
    if (!strncmp(word, name, length) && word[length] == '=') return word + length + 1;
  return "";
}

static uint64_t option(const char *name, uint64_t otherwise) { // name=NUMBER
  const char *text = option_text(name);
  return *text ? strtoull(text, NULL, 10) : otherwise;
}

// With more than one vCPU the heartbeat has the last one to itself and the others share the rest.
static void start(void *(*body)(void *), void *argument, bool heartbeat, bool first_cpu) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpus == 1 || first_cpu) CPU_SET(0, &set);
  else if (heartbeat) CPU_SET(cpus - 1, &set);
  else for (long cpu = 0; cpu < cpus - 1; cpu++) CPU_SET(cpu, &set);
  pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED); // nobody waits for one
  pthread_t thread;
  int error = pthread_create(&thread, &attributes, body, argument);
  if (error) errno = error, die("pthread_create");
}

// ---- channels ----

// What comes on a port goes back on it, each byte once.
static void *echo_port(void *port) {
  int fd = (int)(intptr_t)port;
  char bytes[4096];
  for (;;) {
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n <= 0) pause_ms(20);
    for (ssize_t done = 0; done < n;) {
      ssize_t written = write(fd, bytes + done, n - done);
      if (written > 0) done += written;
      else pause_ms(1);
    }
  }
  return NULL;
}

// Each line that is typed on the console comes back as a note.
static void *echo_console(void *unused) {
  (void)unused;
  char line[256];
  for (size_t length = 0;;) {
    char c;
    if (read(console, &c, 1) != 1) pause_ms(20);
    else if (c != '\n' && length < sizeof line - 1) line[length++] = c;
    else line[length] = 0, say("note: echo %s", line), length = 0;
  }
  return NULL;
}

// QEMU's guest agent on its port, where this initramfs has it (guest/with-agent).
static bool start_agent(int device) {
  char path[64], name[64] = "";
  snprintf(path, sizeof path, "/sys/class/virtio-ports/vport%dp1/name", device);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
  if (fd >= 0) close(fd);
  if (n < 1 || strcmp(name, "org.qemu.guest_agent.0\n") || access("/usr/sbin/qemu-ga", X_OK)) return false;
  snprintf(path, sizeof path, "/dev/vport%dp1", device);
  if (fork()) return true;
  int nothing = open("/dev/null", O_RDWR); // the console is the chain's
  for (int i = 0; i < 3; i++) dup2(nothing, i);
  execl("/usr/sbin/qemu-ga", "qemu-ga", "-m", "virtio-serial", "-p", path, "-t", "/run", (char *)NULL);
  _exit(1);
}

// A virtio console and named ports, as far as there are any: they show up some time after their driver is loaded.
static void open_channels(void) {
  if (!access("/sys/bus/virtio/drivers/virtio_console", F_OK)) usleep(200 * 1000);
  int fd = open("/dev/hvc0", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd >= 0) raw(fd), console = fd;
  for (int device = 0; device < 32; device++) {
    char name[32];
    snprintf(name, sizeof name, "/dev/vport%dp1", device);
    if (start_agent(device)) continue;
    if ((fd = open(name, O_RDWR | O_CLOEXEC)) >= 0) start(echo_port, (void *)(intptr_t)fd, false, false);
  }
  start(echo_console, NULL, false, false);
}

int main(void) {
  umask(0);
  mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  open_console();
  put("/proc/sys/vm/compact_unevictable_allowed", "0");
  put("/sys/kernel/mm/transparent_hugepage/enabled", "never");
  load_modules();
  open_disk();
  cpus = sysconf(_SC_NPROCESSORS_ONLN);
  open_channels();

  uint64_t random = 0;
  getrandom(&random, sizeof random, 0x0004 /* GRND_INSECURE: never wait for entropy */);
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  boot = mix(random ^ mix(__rdtsc()) ^ mix(wall.tv_sec * 1000000000ull + wall.tv_nsec)) | 1; // never 0
  say("boot %016" PRIx64, boot);

  heart = locked(PAGE);
  heart->address = physical(heart);
  heart->boot = boot;
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  sched_setaffinity(0, sizeof first, &first);
  heart->cpuid_digest = cpuid_digest();
  heart->cpuid_runs = 1;
  pattern_pages = option("holdfast.pattern", 16) * (1024 * 1024 / PAGE);
  if (pattern_pages) {
    make_pattern();
    heart->pattern_address = physical(pattern[0]);
  }
  heart->pattern_pages = pattern_pages;
  for (unsigned k = 4; k-- > 0;) heart->magic[k] = magic(MAGIC_HEARTBEAT + k); // first word last: now it counts

  start(beat, NULL, true, false);
  if (pattern_pages) start(rewrite, NULL, false, false);
  start(watch, NULL, false, true);
  char addresses[256];
  snprintf(addresses, sizeof addresses, "%s", option_text("holdfast.net"));
  if (*addresses) start_network(addresses);
  say("ready heartbeat=%" PRIx64 " bootid=%016" PRIx64 " cpus=%ld pattern=%" PRIu64 " disk=%" PRIu64, heart->address, boot,
      cpus, pattern_pages, disk_slots);
  start(chain, NULL, false, false);
  for (;;) pause();
}
