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

/* Texts are argv's own; NULL when not given. */
struct client_options {
	const char *fingerprint, *auth, *proxy, *hostname, *sni, *tls_ca, *tls_key, *tls_cert, *io,
		*bus_dir, *sandbox, *log_format, *ssh_key, *ssh_passphrase_file;
	uint64_t keepalive, max_retry_interval;	 /* ns */
	int64_t max_retry_count;		 /* < 0: without end */
	const char *header[CLIENT_LIST_MAX + 1]; /* NULL-ended */
	bool tls_skip_verify, allow_plain, pid, verbose, help;
	const char *server;
	char *const *remotes;
	size_t remotes_n;
};

/* argv[0] is "client".  ERR_USAGE with the nearest flag or what is right. */
MUST_USE int client_options_read(struct client_options *out, int argc, char *const argv[],
				 struct fault *why);
void client_options_print_help(void);

#endif
