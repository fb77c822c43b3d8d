/*
 * The tables of records.def, and what a reader does to a record before anybody
 * sees it.  Nothing here touches the file: record.h reads and writes it.
 */
#include "shm/records.h"

#include <string.h>

#include "lib/base/bytes.h"
#include "shm/text.h"

#define AT(record, field)                                                                          \
	offsetof(struct bus_##record, field), sizeof(((struct bus_##record *)0)->field)

#define BUS_RECORD(ID, name, role, strict) static const struct bus_record_field name##_fields[] = {

#define BUS_VALUE(record, kind, field, key, max) { BUS_VALUE_##kind, key, AT(record, field), max },
#define BUS_TEXT(record, field, key, size)	 { BUS_VALUE_TEXT, key, AT(record, field), 0 },
#define BUS_BYTES(record, field, key, size)	 { BUS_VALUE_BYTES, key, AT(record, field), 0 },
#define BUS_PORTS(record, field, key, n)	 { BUS_VALUE_PORTS, key, AT(record, field), 0 },
#define BUS_RECORD_END(ID, name)                                                                   \
	}                                                                                          \
	;                                                                                          \
	static_assert(sizeof(struct bus_##name) % 8 == 0 &&                                        \
			      sizeof(struct bus_##name) <= BUS_SLOT_MAX,                           \
		      #name " is made of whole words and fits a slot");
#include "shm/records.def"

const struct bus_record_info bus_record_info[BUS_RECORDS_N] = {
#define BUS_RECORD(ID, name, role, strict)                                                         \
	[BUS_RECORD_##ID] = {                                                                      \
		#name,	       BUS_SECTION_##ID,	role, strict, sizeof(struct bus_##name),   \
		name##_fields, array_len(name##_fields)                                            \
	},
#include "shm/records.def"
};

uint64_t bus_record_value(const struct bus_record_field *field, const void *record)
{
	uint64_t v;

	must(field->size == sizeof(v));
	memcpy(&v, (const char *)record + field->at, sizeof(v));
	return v;
}

/* How many bytes were dirt; a missing end counts as one. */
static size_t settle_text(char *text, size_t size)
{
	const size_t n = strnlen(text, size - 1);
	const size_t dirt = text[n] != '\0';

	memset(text + n, 0, size - n);
	return dirt + bus_text_clean(text, n);
}

int bus_record_settle(const struct bus_record_info *info, void *record)
{
	bool good = true;

	for (size_t i = 0; i < info->fields_n; i++) {
		const struct bus_record_field *f = &info->fields[i];

		switch (f->kind) {
		case BUS_VALUE_TEXT:
			if (settle_text((char *)record + f->at, f->size) > 0)
				good = false;
			break;
		case BUS_VALUE_NUMBER:
		case BUS_VALUE_COUNT:
		case BUS_VALUE_FLAG:
		case BUS_VALUE_TIME:
		case BUS_VALUE_STATE:
		case BUS_VALUE_OP:
		case BUS_VALUE_ERROR:
			if (bus_record_value(f, record) > f->max)
				good = false;
			break;
		case BUS_VALUE_BYTES:
		case BUS_VALUE_PORTS:
			break;
		}
	}
	return good || !info->strict ? 0 : ERR_PROTO;
}
