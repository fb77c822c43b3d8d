/*
 * proxy_env -- reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY as Go and
 * curl do. Pure: the environment is an argument.
 */
#include "lib/proto/proxy_env.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- addresses ---- */

/* Both families as 16 bytes, IPv4 mapped (RFC 4291, 2.5.5.2): so ::ffff:10.0.0.1
 * is in 10.0.0.0/8. */
static bool read_address(uint8_t to[16], bool *is_v4, const char *text)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	*is_v4 = inet_pton(AF_INET, text, to + 12) == 1;
	if (*is_v4) {
		memcpy(to, mapped, sizeof(mapped));
		return true;
	}
	return inet_pton(AF_INET6, text, to) == 1;
}

static bool is_in_network(const uint8_t a[16], const uint8_t net[16], unsigned bits)
{
	const unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, net, whole) != 0)
		return false;
	return !rest || !((a[whole] ^ net[whole]) >> (8 - rest));
}

/* "10.0.0.0/8", "fd00::/8"; false also where it is none. */
static bool network_holds(const char *entry, const uint8_t a[16])
{
	char text[64];
	uint8_t net[16];
	bool is_v4;
	const char *slash = strchr(entry, '/');
	const size_t digits = strspn(slash + 1, "0123456789");
	unsigned bits = 0;

	if (slash - entry >= (ptrdiff_t)sizeof(text) || digits == 0 || digits > 3 ||
	    slash[1 + digits])
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)(slash - entry), entry);
	if (!read_address(net, &is_v4, text))
		return false;
	for (size_t i = 0; i < digits; i++)
		bits = bits * 10 + (unsigned)(slash[1 + i] - '0');
	if (bits > (is_v4 ? 32u : 128u))
		return false;
	return is_in_network(a, net, bits + (is_v4 ? 96 : 0));
}

static bool is_loopback(const char *host)
{
	static const uint8_t one[16] = { [15] = 1 };
	uint8_t a[16];
	bool is_v4;

	if (strcasecmp(host, "localhost") == 0 || strcasecmp(host, "localhost.") == 0)
		return true;
	if (!read_address(a, &is_v4, host))
		return false;
	return memcmp(a, one, 16) == 0 || (network_holds("127.0.0.0/8", a));
}

/* ---- no_proxy ---- */

/* Cuts ":port" off; false when it is another port.  An IPv6 address without
 * brackets has none. */
static bool port_fits(char *entry, uint16_t port)
{
	char *colon = strrchr(entry, ':'), wanted[8];

	if (!colon || (entry[0] != '[' && strchr(entry, ':') != colon) || strchr(colon, ']'))
		return true;
	*colon = '\0';
	snprintf(wanted, sizeof(wanted), "%u", port);
	return strcmp(colon + 1, wanted) == 0;
}

static bool name_fits(const char *entry, const char *host, size_t host_n)
{
	if (strncmp(entry, "*.", 2) == 0)
		entry++;
	const bool below_only = entry[0] == '.';
	const size_t n = strlen(entry + below_only);
	const char *name = entry + below_only;

	if (!n || host_n < n || strncasecmp(host + host_n - n, name, n) != 0)
		return false;
	return host_n == n ? !below_only : host[host_n - n - 1] == '.';
}

static bool entry_fits(char *entry, const char *host, uint16_t port)
{
	uint8_t a[16], b[16];
	bool is_v4;

	if (strcmp(entry, "*") == 0)
		return true;
	const bool is_address = read_address(a, &is_v4, host);
	if (strchr(entry, '/'))
		return is_address && network_holds(entry, a);
	if (!port_fits(entry, port))
		return false;
	const size_t n = strlen(entry);
	if (entry[0] == '[' && n > 2 && entry[n - 1] == ']') {
		entry[n - 1] = '\0';
		entry++;
	}
	if (is_address)
		return read_address(b, &is_v4, entry) && memcmp(a, b, 16) == 0;
	/* A dot at the end is the root: the same name. */
	const size_t host_n = strlen(host);
	return name_fits(entry, host, host_n && host[host_n - 1] == '.' ? host_n - 1 : host_n);
}

bool proxy_env_is_direct(const char *no_proxy, const char *host, uint16_t port)
{
	static const char separators[] = ", \t";

	for (const char *p = no_proxy + strspn(no_proxy, separators); *p;
	     p += strspn(p, separators)) {
		const size_t n = strcspn(p, separators);
		char entry[300];

		if (n < sizeof(entry)) { /* longer than any name */
			memcpy(entry, p, n);
			entry[n] = '\0';
			if (entry_fits(entry, host, port))
				return true;
		}
		p += n;
	}
	return false;
}

/* ---- variables ---- */

static const char *value_of(const char *const *env, const char *name)
{
	const size_t n = strlen(name);

	for (; env && *env; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=' && (*env)[n + 1])
			return *env + n + 1;
	return NULL;
}

static const char *first_of(const char *const *env, const char *const names[2], const char **name)
{
	for (size_t i = 0; i < 2; i++) {
		const char *value = names[i] ? value_of(env, names[i]) : NULL;

		if (value) {
			*name = names[i];
			return value;
		}
	}
	return NULL;
}

int proxy_env_read(struct proxy_env_choice *out, const char *const *env, enum proxy_env_kind kind,
		   struct fault *why)
{
	static const char *const own[PROXY_ENV_KINDS][2] = {
		[PROXY_ENV_TLS] = { "https_proxy", "HTTPS_PROXY" },
		[PROXY_ENV_PLAIN] = { "http_proxy", "HTTP_PROXY" },
		[PROXY_ENV_OTHER] = { NULL, NULL },
	};
	static const char *const cgi[2] = { "http_proxy", NULL }, *const all[2] = { "all_proxy",
										    "ALL_PROXY" };
	const bool is_cgi = kind == PROXY_ENV_PLAIN && value_of(env, "REQUEST_METHOD");
	const char *name = NULL, *value = first_of(env, is_cgi ? cgi : own[kind], &name);
	struct fault inner = { 0 };
	char text[1024];

	*out = (struct proxy_env_choice){ 0 };
	if (!value)
		value = first_of(env, all, &name);
	if (!value)
		return 0;
	const int n =
		snprintf(text, sizeof(text), "%s%s", strstr(value, "://") ? "" : "http://", value);
	if (n < 0 || (size_t)n >= sizeof(text))
		return fault_set(why, ERR_CONFIG, "%s is longer than %zu bytes", name,
				 sizeof(text));
	if (proxy_url_read(&out->url, text, &inner) < 0) {
		explicit_bzero(text, sizeof(text));
		return fault_set(why, ERR_CONFIG, "the variable %s: %s", name, inner.why);
	}
	explicit_bzero(text, sizeof(text));
	out->variable = name;
	return 0;
}

int proxy_env_choose(struct proxy_env_choice *out, const char *const *env, enum proxy_env_kind kind,
		     const char *host, uint16_t port, struct fault *why)
{
	static const char *const none[2] = { "no_proxy", "NO_PROXY" };
	const int rc = proxy_env_read(out, env, kind, why);
	const char *name = NULL;

	if (rc < 0 || !out->variable)
		return rc;
	const char *list = first_of(env, none, &name);
	if (is_loopback(host))
		*out = (struct proxy_env_choice){ 0 };
	else if (list && proxy_env_is_direct(list, host, port))
		*out = (struct proxy_env_choice){ .variable = name };
	return 0;
}
