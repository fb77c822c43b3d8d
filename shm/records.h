/*
 * records -- the list of records.def as tables, for code that treats all
 * records alike: making them harmless, printing them.
 *
 * What a record of a hostile writer may hold is judged here and nowhere else.
 */
#ifndef SHM_RECORDS_H
#define SHM_RECORDS_H

#include <stdbool.h>

#include "shm/layout.h"

enum bus_value_kind {
	BUS_VALUE_NUMBER,
	BUS_VALUE_COUNT,
	BUS_VALUE_FLAG,
	BUS_VALUE_TIME,
	BUS_VALUE_STATE,
	BUS_VALUE_OP,
	BUS_VALUE_ERROR,
	BUS_VALUE_TEXT,
	BUS_VALUE_BYTES,
	BUS_VALUE_PORTS,
};

struct bus_record_field {
	enum bus_value_kind kind;
	const char *key; /* on JSON pages */
	size_t at, size; /* bytes within the record */
	uint64_t max;	 /* of a uint64_t in a strict record */
};

struct bus_record_info {
	const char *name;
	enum bus_section section;
	unsigned role; /* enum bus_role, or BUS_ANY */
	bool strict;
	size_t size;
	const struct bus_record_field *fields;
	size_t fields_n;
};
extern const struct bus_record_info bus_record_info[BUS_RECORDS_N];

static inline bool bus_record_is_of(const struct bus_record_info *info, enum bus_role role)
{
	return info->role == BUS_ANY || info->role == (unsigned)role;
}

/* Ends every text of the record within its field and replaces what is no plain
 * text by '?'.  0, or ERR_PROTO for a strict record that held dirt or a value
 * over its bound. */
MUST_USE int bus_record_settle(const struct bus_record_info *info, void *record);

/* A number of a record that is settled; the field is of a kind of uint64_t. */
uint64_t bus_record_value(const struct bus_record_field *field, const void *record);

#endif
