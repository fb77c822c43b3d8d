/*
 * client_options -- the command line of `tunnel-sidecar client`.
 */
#ifndef TUNNEL_SIDECAR_CLIENT_OPTIONS_H
#define TUNNEL_SIDECAR_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/fault.h"

#define CLIENT_LIST_MAX 32

/* Texts are argv's own, or o's after client_options_hide(); NULL when not given. */
struct client_options {
	const char *fingerprint, *auth, *auth_file, *proxy, *hostname, *sni, *tls_ca, *tls_key,
		*tls_cert, *io, *bus_dir, *sandbox, *log_format, *ssh_key, *ssh_passphrase_file;
	uint64_t keepalive, max_retry_interval;	 /* ns */
	int64_t max_retry_count;		 /* < 0: without end */
	const char *header[CLIENT_LIST_MAX + 1]; /* NULL-ended */
	bool tls_skip_verify, allow_plain, pid, verbose, help;
	const char *server;
	char *const *remotes;
	size_t remotes_n;
	char *own[CLIENT_LIST_MAX + 4]; /* copies of secrets */
	size_t own_n;
};

/* argv[0] is "client".  ERR_USAGE with the nearest flag or what is right. */
MUST_USE int client_options_read(struct client_options *out, int argc, char *const argv[],
				 struct fault *why);
/* Copies what may be a secret (--auth, --proxy, --header, a server with user or query,
 * the AUTH variable) and overwrites it where it stands: the kernel shows those bytes to
 * everybody as /proc/PID/cmdline.  Texts of argv and environ must be writable. */
void client_options_hide(struct client_options *o);
/* Wipes and frees the copies. */
void client_options_fini(struct client_options *o);
void client_options_print_help(void);

#endif
