// The peer of FdtBenchmark: libfdt's own check of a whole device tree, and a walk over all of it.
//
//   gcc -O2 -o fdt-peer fdt-peer.c -lfdt; ./fdt-peer
//
// For each line "N FILE" on its input it does both N times, and answers with the nanoseconds that took and the
// checksum of the walk, which is the one of FdtPeer.
#include <libfdt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t walk(const void *fdt)
{
	uint64_t sum = 0;
	int depth = 0;
	int at = 0;

	for (;;) {
		int next, length, value;
		const struct fdt_property *property;

		switch (fdt_next_tag(fdt, at, &next)) {
		case FDT_BEGIN_NODE:
			if (!fdt_get_name(fdt, at, &length))
				return 0;
			depth++;
			sum = sum * 31 + (uint64_t)length + (uint64_t)depth;
			break;
		case FDT_END_NODE:
			depth--;
			sum = sum * 31 + 7;
			break;
		case FDT_PROP:
			property = fdt_get_property_by_offset(fdt, at, &value);
			if (!property || !fdt_get_string(fdt, (int)fdt32_ld(&property->nameoff), &length))
				return 0;
			sum = (sum * 31 + (uint64_t)length) * 31 + (uint64_t)value;
			if (value >= 4)
				sum ^= fdt32_ld((const fdt32_t *)property->data);
			break;
		case FDT_NOP:
			break;
		default:
			return depth == 0 ? sum : 0;
		}
		at = next;
	}
}

static uint64_t nanos(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(void)
{
	static char line[8192], name[4096], loaded[4096];
	void *fdt = NULL;
	long size = 0, times;

	while (fgets(line, sizeof line, stdin) && sscanf(line, "%ld %4095s", &times, name) == 2) {
		uint64_t sum = 0, start;

		if (strcmp(name, loaded)) {
			FILE *file = fopen(name, "rb");

			if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET))
				return 1;
			free(fdt);
			fdt = malloc((size_t)size);
			if (!fdt || fread(fdt, 1, (size_t)size, file) != (size_t)size)
				return 1;
			fclose(file);
			strcpy(loaded, name);
		}
		start = nanos();
		for (long i = 0; i < times; i++) {
			if (fdt_check_full(fdt, (size_t)size))
				return 2;
			sum = walk(fdt);
		}
		printf("%llu %llu\n", (unsigned long long)(nanos() - start), (unsigned long long)sum);
		fflush(stdout);
	}
	return 0;
}
