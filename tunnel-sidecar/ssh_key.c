/*
 * ssh_key -- reads the private key file and the passphrase file into memory before the
 * sandbox closes. It does not decrypt the key: libssh2 does.
 */
#include "tunnel-sidecar/ssh_key.h"

#include <string.h>

#include "lib/io/file.h"

static int read_file(char *to, size_t cap, const char *path, const char *what, struct fault *why)
{
	struct fault inner = { 0 };
	const int n = file_read(to, cap, path, FILE_TEXT, NULL, &inner);

	if (n < 0)
		return fault_set(why, inner.code, "%s: %s", what, inner.why);
	return n ? n : fault_set(why, ERR_CONFIG, "%s: %s is empty", what, path);
}

int ssh_key_read(struct ssh_key *out, const char *key_file, const char *passphrase_file,
		 struct fault *why)
{
	int n;

	out->n = 0;
	out->passphrase = NULL;
	if (!key_file)
		return 0;
	n = read_file(out->text, sizeof(out->text), key_file, "private key", why);
	if (n < 0)
		return n;
	if (!memmem(out->text, (size_t)n, "PRIVATE KEY-----", 16)) {
		ssh_key_wipe(out);
		return fault_set(why, ERR_CONFIG, "private key: %s holds no private key", key_file);
	}
	out->n = (size_t)n;
	if (!passphrase_file)
		return 0;
	n = read_file(out->words, sizeof(out->words), passphrase_file,
		      "passphrase of the private key", why);
	if (n < 0) {
		ssh_key_wipe(out);
		return n;
	}
	out->words[strcspn(out->words, "\r\n")] = '\0'; /* one line, as editors end it */
	out->passphrase = out->words;
	return 0;
}

void ssh_key_wipe(struct ssh_key *k)
{
	explicit_bzero(k, sizeof(*k));
}
