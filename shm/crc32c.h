/*
 * crc32c -- the Castagnoli checksum (RFC 3720, appendix B.4).
 *
 * Finds accidents, not attackers: those compute it as well.
 */
#ifndef SHM_CRC32C_H
#define SHM_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of n more bytes; start with crc 0. */
uint32_t bus_crc32c(uint32_t crc, const void *p, size_t n);

#endif
