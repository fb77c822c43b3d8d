/* One row of the table at a time: what is compared are names of options and keys. */
#include "lib/base/nearest.h"

#include <stddef.h>
#include <string.h>

unsigned nearest_distance(const char *a, const char *b, unsigned max)
{
	enum { N = 64 };
	unsigned row[N + 1];
	const size_t an = strlen(a), bn = strlen(b);

	if (an > N || bn > N)
		return max + 1;
	for (unsigned j = 0; j <= bn; j++)
		row[j] = j;
	for (size_t i = 1; i <= an; i++) {
		unsigned before = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= bn; j++) {
			const unsigned change = before + (a[i - 1] != b[j - 1]);

			before = row[j];
			row[j] = change < row[j] + 1 ? change : row[j] + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
		}
	}
	return row[bn] <= max ? row[bn] : max + 1;
}
