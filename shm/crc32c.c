/*
 * CRC-32C (Castagnoli) by a table that is made once: a segment's immutable part is
 * summed at attach only, so speed does not matter here.
 */
#include "shm/crc32c.h"

/* Half a byte at a time: some 40 KiB are summed once in a life of a writer, so
 * 64 bytes of table do. */
static const uint32_t table[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t bus_crc32c(uint32_t crc, const void *p, size_t n)
{
	crc = ~crc;
	for (const uint8_t *b = p; n--; b++) {
		crc ^= *b;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}
