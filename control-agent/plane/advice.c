/* Looks in the two lists of advice.def. */
#include "control-agent/plane/advice.h"

static const struct status_row {
	int first, last;
	bool passes;
	const char *todo;
} by_status[] = {
#define ADVICE_STATUS(first, last, passes, todo) { first, last, passes, todo },
#define ADVICE_ERROR(code, todo)
#include "control-agent/plane/advice.def"
#undef ADVICE_STATUS
#undef ADVICE_ERROR
};

static const struct {
	enum err code;
	const char *todo;
} by_error[] = {
#define ADVICE_STATUS(first, last, passes, todo)
#define ADVICE_ERROR(code, todo) { ERR_##code, todo },
#include "control-agent/plane/advice.def"
#undef ADVICE_STATUS
#undef ADVICE_ERROR
};

static const struct status_row *find(int status)
{
	for (size_t i = 0; i < array_len(by_status); i++)
		if (status >= by_status[i].first && status <= by_status[i].last)
			return &by_status[i];
	return NULL;
}

/* The agent adds /api/v1 itself. */
static bool ends_in_api(const char *path)
{
	static const char end[] = "/api/v1";
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	return n >= strlen(end) && memcmp(path + n - strlen(end), end, strlen(end)) == 0;
}

const char *advice_text(int status, enum err code, const char *api_path)
{
	const struct status_row *row = find(status);
	const bool of_address = status == 404 || status == 405 || code == ERR_PROTO ||
				(status >= 300 && status < 400);

	if (of_address && ends_in_api(api_path))
		return "Remove /api/v1 from the end of PIPEOPS_API_URL: the agent adds it";
	if (row)
		return row->todo;
	for (size_t i = 0; i < array_len(by_error); i++)
		if (by_error[i].code == code)
			return by_error[i].todo;
	return "Check PIPEOPS_API_URL, DNS, firewall and proxy";
}

bool advice_passes(int status, struct span body)
{
	const struct status_row *row = find(status);
	size_t at = 0;

	if (row)
		return row->passes;
	while (at < body.n && memchr(" \t\r\n", body.p[at], 4))
		at++;
	return at == body.n || body.p[at] == '<';
}
