#include "shm/fields.h"

#include <string.h>

#include "shm/crc32c.h"
#include "shm/text.h"
#include "tests/support/cases.h"

static void test_list(void)
{
	for (unsigned i = 0; i < BUS_FIELDS_N; i++) {
		const struct bus_field_info *f = &bus_field_info[i];
		const size_t n = strlen(f->name);
		const bool total = n > 6 && strcmp(f->name + n - 6, "_total") == 0;

		check_row(f->name, bus_name_owner(f->name) == f->role);
		check_row(f->name, bus_text_is_metric_name(f->name));
		check_row(f->name, n < BUS_STRING_MAX && strlen(f->help) < BUS_STRING_MAX);
		check_row(f->name, (f->kind == BUS_KIND_COUNTER) == total);
		check_row(f->name, *f->help && f->help[strlen(f->help) - 1] == '.');
		check_row(f->name,
			  f->kind != BUS_KIND_HISTOGRAM || strcmp(f->unit, "seconds") == 0);
		for (unsigned j = 0; j < i; j++)
			check_row(f->name, strcmp(f->name, bus_field_info[j].name) != 0);
	}
	check(bus_name_owner("pipeops_component_up") == 0);
	check(bus_name_owner("up") == 0);
}

/* REASON's index is the number of the error: the list must have no gaps. */
static void test_reasons_have_no_gaps(void)
{
#define COUNT(name, number, text) +1
	for (int i = 1; i <= 0 ERR_LIST(COUNT); i++)
		check(strcmp(err_name(-i), "unknown") != 0);
}

static const char *labels_of(const struct bus_fields *f, enum bus_field field, uint32_t index)
{
	for (size_t i = 0; i < f->descriptors_n; i++)
		if (strcmp(f->strings + f->descriptors[i].name, bus_field_info[field].name) == 0)
			return f->strings + f->descriptors[i + index].labels;
	return "";
}

static void test_forward_names(void)
{
	static const char long_name[] = "0123456789012345678901234567890123456789"
					"0123456789012345678901234567890123456789";
	static const struct {
		const char *name, *want;
	} rows[] = {
		{ "web", "forward=\"web\"" },
		{ "a\"b\\c\nd", "forward=\"a\\\"b\\\\c\\nd\"" },
		{ "tab\t", "forward=\"tab?\"" },
		{ "web", "forward=\"web~3\"" },
		{ long_name,
		  "forward=\"012345678901234567890123456789012345678901234567890123456789"
		  "012~4\"" },
		{ "", "forward=\"\"" },
	};
	const char *names[array_len(rows)];
	struct bus_fields f;

	for (size_t i = 0; i < array_len(rows); i++)
		names[i] = rows[i].name;
	check(bus_fields_new(&f, BUS_TUNNEL, names, array_len(names)) == 0);
	for (uint32_t i = 0; i < array_len(rows); i++) {
		const char *got = labels_of(&f, BUS_TUNNEL_CHANNELS, i);
		check_row(got, strcmp(got, rows[i].want) == 0 && bus_text_is_labels(got));
		got = labels_of(&f, BUS_TUNNEL_BYTES, 2 * i + 1);
		check_row(got, bus_text_is_labels(got) && strstr(got, ",direction=\"down\""));
	}
	check(f.count[BUS_HEARTBEATS] == 0); /* of the other role */
	bus_fields_free(&f);
	bus_fields_free(&f);
}

/* The largest configuration fits the tables. */
static void test_all_forwards(void)
{
	const char *names[BUS_FORWARDS_MAX];
	char text[BUS_FORWARDS_MAX][BUS_NAME_MAX];
	struct bus_fields f;

	for (size_t i = 0; i < BUS_FORWARDS_MAX; i++) {
		memset(text[i], '"', sizeof(text[i]));
		text[i][0] = (char)('A' + i);
		text[i][BUS_NAME_MAX - 1] = '\0';
		names[i] = text[i];
	}
	check(bus_fields_new(&f, BUS_TUNNEL, names, BUS_FORWARDS_MAX) == 0);
	check(f.count[BUS_TUNNEL_BYTES] == 2 * BUS_FORWARDS_MAX);
	bus_fields_free(&f);
}

/* RFC 3720, B.4. */
static void test_crc32c(void)
{
	uint8_t bytes[32];

	memset(bytes, 0, sizeof(bytes));
	check(bus_crc32c(0, bytes, 32) == 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	check(bus_crc32c(0, bytes, 32) == 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = i;
	check(bus_crc32c(0, bytes, 32) == 0x46dd794e);
	check(bus_crc32c(bus_crc32c(0, bytes, 11), bytes + 11, 21) == 0x46dd794e);
	check(bus_crc32c(0, "123456789", 9) == 0xe3069283);
	check(bus_crc32c(0, bytes, 0) == 0);
}

static void test_names_of_states(void)
{
	check(strcmp(bus_state_name(BUS_STATE_UP), "up") == 0);
	check(strcmp(bus_state_name(BUS_STATES_N), "unknown") == 0);
	check(strcmp(bus_state_name(UINT64_MAX), "unknown") == 0);
	check(strcmp(bus_phase_name(BUS_DRAINING), "draining") == 0);
	check(strcmp(bus_phase_name(5), "unknown") == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "list", test_list },
		{ "reasons", test_reasons_have_no_gaps },
		{ "names of forwards", test_forward_names },
		{ "all forwards", test_all_forwards },
		{ "crc32c", test_crc32c },
		{ "names of states", test_names_of_states },
	};
	return run_cases("fields", cases, array_len(cases));
}
