/*
 * fault -- the names of error codes, and the sentence of a struct fault. Only
 * the first fault is kept: a later one is usually a consequence.
 */
#include "lib/base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_why(struct fault *f, const char *fmt, va_list args)
{
	if (vsnprintf(f->why, sizeof(f->why), fmt, args) < 0)
		f->why[0] = '\0';
}

int(fault_set)(struct fault *f, enum err code, const char *fmt, ...)
{
	must(code < 0);
	if (!f)
		return code;
	if (f->code)
		return f->code;

	va_list args;
	va_start(args, fmt);
	write_why(f, fmt, args);
	va_end(args);
	f->code = code;
	f->sys = 0;
	return code;
}

int(fault_set_sys)(struct fault *f, int sys, const char *fmt, ...)
{
	if (!f)
		return ERR_SYS;
	if (f->code)
		return f->code;

	va_list args;
	va_start(args, fmt);
	write_why(f, fmt, args);
	va_end(args);

	const size_t n = strlen(f->why);
	char text[96];
	snprintf(f->why + n, sizeof(f->why) - n, ": %s", strerror_r(sys, text, sizeof(text)));
	f->code = ERR_SYS;
	f->sys = sys;
	return ERR_SYS;
}

const char *err_name(int code)
{
	switch (code) {
#define ERR_CASE(name, number, text)                                                               \
	case ERR_##name:                                                                           \
		return text;
		ERR_LIST(ERR_CASE)
#undef ERR_CASE
	}
	return code >= 0 ? "ok" : "unknown";
}
