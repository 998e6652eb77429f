// The peer of KhoBenchmark: the preserved-memory map of kho-v4 in C, written from docs/formats.md.
//
//   gcc -O2 -o kho-peer kho-peer.c; ./kho-peer
//
// It reads a line for each piece of work, and answers with the nanoseconds of this process's own time that it took, and
// what came out of it:
//
//   pages COUNT                    preserves so many pages, one call each     → nanoseconds, checksum of all keys, nodes
//   ranges COUNT SEED              preserves ranges of so many pages in all   → the same
//   walk TIMES FILE ADDRESS ROOT   walks the tree in a file, which stands for memory from ADDRESS on
//                                                                             → nanoseconds, checksum of all keys, keys
//
// What is preserved is a tree in memory at once, so that pages-written and ranges-written, which ask for that, are the same.
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TOP = 5, PAGE = 4096, PAGE_SHIFT = 12, WORDS = PAGE / 8, LEAF_SHIFT = 15, TABLE_SHIFT = 9, MAX_ORDER = 40 };

static uint64_t nanos(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// What a walk sums up: every key, and the order they come in. KhoPeer has the same.
struct sum {
	uint64_t value, keys;
};

static inline void add(struct sum *sum, uint64_t key)
{
	sum->value = (sum->value << 1 | sum->value >> 63) + key;
	sum->keys++;
}

static inline unsigned int entry(uint64_t key, int level)
{
	return key >> (LEAF_SHIFT + TABLE_SHIFT * (level - 1)) & (WORDS - 1);
}

// ------------------------------------------------------------------------------------------- preserving

static uint64_t *root;
static uint64_t nodes;

static uint64_t *node(void)
{
	uint64_t *page = aligned_alloc(PAGE, PAGE);

	if (!page)
		exit(3);
	memset(page, 0, PAGE);
	nodes++;
	return page;
}

// From the root for each block, as the kernel does it.
static void preserve_block(uint64_t pfn, int order)
{
	uint64_t key = UINT64_C(1) << (52 - order) | pfn >> order;
	uint64_t *at = root;

	for (int level = TOP; level > 0; level--) {
		uint64_t *below = &at[entry(key, level)];

		if (!*below)
			*below = (uintptr_t)node();
		at = (uint64_t *)(uintptr_t)*below;
	}
	at[key % (1 << LEAF_SHIFT) / 64] |= UINT64_C(1) << key % 64;
}

// The largest aligned blocks from the start on.
__attribute__((noinline)) static void preserve(uint64_t pfn, uint64_t count)
{
	uint64_t end = pfn + count;

	while (pfn < end) {
		int order = 63 - __builtin_clzll(end - pfn);
		int aligned = pfn ? __builtin_ctzll(pfn) : MAX_ORDER;

		order = order < aligned ? order : aligned;
		preserve_block(pfn, order);
		pfn += UINT64_C(1) << order;
	}
}

static void sum_up(const uint64_t *page, int level, uint64_t prefix, struct sum *sum)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		if (level > 0) {
			if (page[i])
				sum_up((const uint64_t *)(uintptr_t)page[i], level - 1,
				       prefix | (uint64_t)i << (LEAF_SHIFT + TABLE_SHIFT * (level - 1)), sum);
			continue;
		}
		for (uint64_t word = page[i]; word; word &= word - 1)
			add(sum, prefix | i * 64 | (uint64_t)__builtin_ctzll(word));
	}
}

static void give_back(uint64_t *page, int level)
{
	for (int i = 0; level > 0 && i < WORDS; i++) {
		if (page[i])
			give_back((uint64_t *)(uintptr_t)page[i], level - 1);
	}
	free(page);
}

// Numbers that are the same in KhoPeer (xorshift64).
static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void build(uint64_t count, uint64_t seed)
{
	struct sum sum = {0, 0};
	uint64_t start = nanos();

	nodes = 0;
	root = node();
	if (!seed) {
		for (uint64_t pfn = 0; pfn < count; pfn++)
			preserve(pfn, 1);
	} else {
		uint64_t state = seed;

		for (uint64_t pfn = 0, done = 0; done < count;) {
			uint64_t random = next(&state);
			uint64_t length = 1 + random % 1024;

			pfn += random >> 60; // a gap of up to 15 pages
			preserve(pfn, length);
			pfn += length;
			done += length;
		}
	}
	start = nanos() - start;
	sum_up(root, TOP, 0, &sum);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", start, sum.value, nodes);
	give_back(root, TOP);
}

// --------------------------------------------------------------------------------------------- walking

static const char *memory;
static uint64_t first, size;

// A node must be a page of this memory, which is all that a reader can't do without.
static void walk(uint64_t address, int level, uint64_t prefix, struct sum *sum)
{
	const uint64_t *page;

	if (address % PAGE || address < first || address - first > size - PAGE) {
		fprintf(stderr, "kho-peer: no node at 0x%" PRIx64 "\n", address);
		exit(2);
	}
	page = (const uint64_t *)(memory + (address - first));
	for (unsigned int i = 0; i < WORDS; i++) {
		if (level > 0) {
			if (page[i])
				walk(page[i], level - 1,
				     prefix | (uint64_t)i << (LEAF_SHIFT + TABLE_SHIFT * (level - 1)), sum);
			continue;
		}
		for (uint64_t word = page[i]; word; word &= word - 1)
			add(sum, prefix | i * 64 | (uint64_t)__builtin_ctzll(word));
	}
}

static void map(const char *name)
{
	static char mapped[4096];
	struct stat status;
	int file;

	if (!strcmp(mapped, name))
		return;
	file = open(name, O_RDONLY);
	if (file < 0 || fstat(file, &status)) {
		perror(name);
		exit(2);
	}
	size = (uint64_t)status.st_size;
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
	if (memory == MAP_FAILED) {
		perror(name);
		exit(2);
	}
	close(file);
	snprintf(mapped, sizeof mapped, "%s", name);
}

int main(void)
{
	char line[8192], name[4096];
	uint64_t a, b;
	unsigned long times;

	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "pages %" SCNu64, &a) == 1 || sscanf(line, "pages-written %" SCNu64, &a) == 1) {
			build(a, 0);
		} else if (sscanf(line, "ranges %" SCNu64 " %" SCNu64, &a, &b) == 2 ||
			   sscanf(line, "ranges-written %" SCNu64 " %" SCNu64, &a, &b) == 2) {
			build(a, b);
		} else if (sscanf(line, "walk %lu %4095s %" SCNu64 " %" SCNu64, &times, name, &a, &b) == 4) {
			struct sum sum = {0, 0};
			uint64_t start;

			map(name);
			first = a;
			start = nanos();
			for (unsigned long i = 0; i < times; i++) {
				sum = (struct sum){0, 0};
				walk(b, TOP, 0, &sum);
			}
			printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", nanos() - start, sum.value, sum.keys);
		} else {
			return 1;
		}
		fflush(stdout);
	}
	return 0;
}
