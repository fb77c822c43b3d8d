#include "status-server/negotiate.h"

#include "tests/support/cases.h"
#include "tests/support/fence.h"

enum { TEXT = EXPOSITION_TEXT, OM = EXPOSITION_OPENMETRICS };

static const struct {
	const char *name, *accept;
	int want;
} formats[] = {
	{ "absent", "", TEXT },
	{ "anything", "*/*", TEXT },
	{ "Prometheus 3",
	  "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
	  "application/openmetrics-text;version=0.0.1;q=0.5,"
	  "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/"
	  "*;q=0.2",
	  OM },
	{ "Prometheus 2",
	  "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
	  "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
	  OM },
	{ "with protobuf first",
	  "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
	  "encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;q=0.6,"
	  "text/plain;version=0.0.4;q=0.5",
	  OM },
	{ "a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT },
	{ "plain", "text/plain", TEXT },
	{ "openmetrics", "application/openmetrics-text", OM },
	{ "any case, any space",
	  "TEXT/Plain ; Q=0.1 ,\tApplication/OpenMetrics-Text ; Version=1.0.0", OM },
	{ "quoted version", "application/openmetrics-text;version=\"1.0.0\"", OM },
	{ "only the other version", "application/openmetrics-text;version=0.0.1", TEXT },
	{ "other version of text", "text/plain;version=1.0.0,application/openmetrics-text;q=0.1",
	  OM },
	{ "a tie", "application/openmetrics-text;q=0.5,text/plain;q=0.5", TEXT },
	{ "three digits", "application/openmetrics-text;q=0.501,text/plain;q=0.5", OM },
	{ "refused text", "text/plain;q=0,*/*;q=0.1", OM },
	{ "refused openmetrics", "application/openmetrics-text;q=0,*/*", TEXT },
	{ "specific beats general",
	  "application/*;q=1.0,application/openmetrics-text;q=0.1,text/plain;q=0.2", TEXT },
	{ "range of a type", "application/*;q=0.5,text/*;q=0.4", OM },
	{ "comma in quotes", "text/plain;x=\"a,application/openmetrics-text\"", TEXT },
	{ "escaped quote", "text/plain;x=\"\\\",application/openmetrics-text;q=1,\";q=0.5", TEXT },
	{ "open quote", "text/plain;x=\"", TEXT },
	{ "bad weight is passed over", "application/openmetrics-text;q=2,text/plain;q=0.1", TEXT },
	{ "weight without digits", "application/openmetrics-text;q=,text/plain", TEXT },
	{ "weight too long", "application/openmetrics-text;q=0.5555,text/plain;q=0.1", TEXT },
	{ "weight above one", "application/openmetrics-text;q=1.001,text/plain;q=0.1", TEXT },
	{ "only commas", ",,,;;,", TEXT },
};

static const struct {
	const char *name, *encoding;
	bool want;
} encodings[] = {
	{ "absent", "", false },
	{ "gzip", "gzip", true },
	{ "among others", "deflate, gzip;q=0.8, br", true },
	{ "old name", "x-gzip", true },
	{ "any case", "GZIP", true },
	{ "refused", "gzip;q=0", false },
	{ "refused, any other", "gzip;q=0.000, *", false },
	{ "any", "*", true },
	{ "any refused", "*;q=0", false },
	{ "identity rather", "gzip;q=0.5, identity", false },
	{ "identity less", "identity;q=0.5, gzip;q=1.0", true },
	{ "others only", "br, zstd", false },
	{ "longer word", "gzipped", false },
};

static void test_formats(void)
{
	for (size_t i = 0; i < array_len(formats); i++) {
		struct fence f;

		fence_init(&f, formats[i].accept, strlen(formats[i].accept));
		check_row(formats[i].name,
			  (int)negotiate_format(span_of(f.p, f.n)) == formats[i].want);
		for (size_t cut = 0; cut < f.n; cut++) /* any piece is read within its bounds */
			(void)negotiate_format(span_of(f.p + cut, f.n - cut));
		fence_fini(&f);
	}
	check(negotiate_format(span_of(NULL, 0)) == EXPOSITION_TEXT);
}

static void test_encodings(void)
{
	for (size_t i = 0; i < array_len(encodings); i++) {
		struct fence f;

		fence_init(&f, encodings[i].encoding, strlen(encodings[i].encoding));
		check_row(encodings[i].name,
			  negotiate_gzip(span_of(f.p, f.n)) == encodings[i].want);
		fence_fini(&f);
	}
	check(!negotiate_gzip(span_of(NULL, 0)));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "formats", test_formats },
		{ "encodings", test_encodings },
	};
	return run_cases("accept", cases, array_len(cases));
}
