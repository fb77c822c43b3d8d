/*
 * sandbox_names -- the files that name resolution and certificates need, found
 * before the sandbox closes, and the code that glibc would load for them later.
 * It resolves no name.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/app/sandbox/sandbox_private.h"
#include "lib/base/bytes.h"

#define RESOLV_CONF "/etc/resolv.conf"

void sandbox_paths_add(struct sandbox_paths *p, const char *path)
{
	if (path && *path && p->n < SANDBOX_PATHS_MAX)
		p->path[p->n++] = path;
}

static bool is_mounted(const char *file)
{
	struct stat st, etc;

	return lstat(file, &st) == 0 && S_ISREG(st.st_mode) && stat("/etc", &etc) == 0 &&
	       st.st_dev != etc.st_dev;
}

/* The folder in which resolv.conf stands, when /etc has only a link. */
static void add_resolver_dir(struct sandbox_paths *p)
{
	char *real = realpath(RESOLV_CONF, NULL);
	char *slash = real ? strrchr(real, '/') : NULL;

	if (slash && slash != real && (size_t)(slash - real) < sizeof(p->resolver_dir)) {
		*slash = '\0';
		snprintf(p->resolver_dir, sizeof(p->resolver_dir), "%s", real);
		sandbox_paths_add(p, p->resolver_dir);
	}
	free(real);
}

/* In a container the two files that change are mounts, which stay: then nothing
 * else of /etc is needed, where an operator may keep what is none of this
 * program's.  Elsewhere they are replaced by others of the same name, so only a
 * rule for the folder goes on holding. */
static void add_resolver(struct sandbox_paths *p)
{
	static const char *const files[] = { RESOLV_CONF,	   "/etc/hosts",
					     "/etc/nsswitch.conf", "/etc/gai.conf",
					     "/etc/host.conf",	   "/etc/services",
					     "/etc/protocols" };

	if (!is_mounted(RESOLV_CONF) || !is_mounted("/etc/hosts")) {
		sandbox_paths_add(p, "/etc");
		add_resolver_dir(p);
		return;
	}
	for (size_t i = 0; i < array_len(files); i++)
		sandbox_paths_add(p, files[i]);
}

/* OpenSSL looks a certificate up when it meets its name, in the folders of
 * SSL_CERT_DIR or its own; there stand links to the distribution's. */
static void add_certificates(struct sandbox_paths *p)
{
	static const char *const folders[] = { "/etc/ssl", "/etc/pki", "/usr/share/ca-certificates",
					       "/usr/local/share/ca-certificates" };
	const char *dirs = getenv(X509_get_default_cert_dir_env());
	char *rest = p->cert_dirs;

	for (size_t i = 0; i < array_len(folders); i++)
		sandbox_paths_add(p, folders[i]);
	snprintf(p->cert_dirs, sizeof(p->cert_dirs), "%s",
		 dirs && *dirs ? dirs : X509_get_default_cert_dir());
	for (char *dir; (dir = strsep(&rest, ":"));)
		sandbox_paths_add(p, dir);
}

void sandbox_paths_find(struct sandbox_paths *p, bool has_names, bool has_system_trust)
{
	if (has_names)
		add_resolver(p);
	if (has_system_trust)
		add_certificates(p);
}

/* `hosts: files mymachines dns` names modules that the C library loads when a
 * look-up comes to them; what is loaded already it takes as it is. */
static void load_resolver_modules(char *line)
{
	static const char spaces[] = " \t\r\n";
	char *rest = line;

	for (char *word; (word = strsep(&rest, spaces));) {
		char name[64];

		if (!*word || word[strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_")])
			continue; /* [NOTFOUND=return] */
		const int n = snprintf(name, sizeof(name), "libnss_%s.so.2", word);
		if (n > 0 && (size_t)n < sizeof(name))
			(void)dlopen(name,
				     RTLD_LAZY); /* one that is missing is missing later, too */
	}
}

void sandbox_load_late_code(bool has_names)
{
	FILE *f = !has_names ? NULL : fopen("/etc/nsswitch.conf", "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "hosts:", 6) == 0)
			load_resolver_modules(line + 6);
	if (f)
		fclose(f);
	tzset(); /* the log has no use for it, gmtime_r() looks all the same */
	(void)OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
				  NULL);
}
