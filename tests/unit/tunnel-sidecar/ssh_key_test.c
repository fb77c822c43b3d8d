#include "tunnel-sidecar/ssh_key.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "tests/support/cases.h"

#define KEY "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"

static char dir[] = "/tmp/ssh-key-test-XXXXXX", key_path[64], words_path[64];

static void write_file(const char *path, const char *text, size_t n)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	must(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	close(fd);
}

static bool is_wiped(const struct ssh_key *k)
{
	static const struct ssh_key none;

	return memcmp(k, &none, sizeof(none)) == 0;
}

static void test_no_file_is_no_key(void)
{
	static struct ssh_key k;

	check(ssh_key_read(&k, NULL, NULL, NULL) == 0);
	check(k.n == 0 && !k.passphrase);
}

static void test_key_and_passphrase(void)
{
	static const struct {
		const char *words, *want;
	} rows[] = { { "open sesame\n", "open sesame" },
		     { "open sesame", "open sesame" },
		     { "two\r\nlines\n", "two" },
		     { " blanks count \n", " blanks count " },
		     { "\n", "" } };
	static struct ssh_key k;

	write_file(key_path, KEY, strlen(KEY));
	check(ssh_key_read(&k, key_path, NULL, NULL) == 0);
	check(k.n == strlen(KEY) && memcmp(k.text, KEY, k.n) == 0 && !k.passphrase);
	for (size_t i = 0; i < array_len(rows); i++) {
		write_file(words_path, rows[i].words, strlen(rows[i].words));
		check_row(rows[i].words, ssh_key_read(&k, key_path, words_path, NULL) == 0);
		check_row(rows[i].words, k.passphrase && strcmp(k.passphrase, rows[i].want) == 0);
	}
	ssh_key_wipe(&k);
	check(is_wiped(&k));
}

static void test_what_is_no_key(void)
{
	static struct ssh_key k;
	static char long_text[SSH_KEY_TEXT_MAX + 1];
	struct fault why = { 0 };

	memset(long_text, 'x', sizeof(long_text));
	memcpy(long_text, KEY, strlen(KEY));
	const struct {
		const char *name, *text, *says;
		size_t n;
		int want;
	} rows[] = {
		{ "empty", "", "is empty", 0, ERR_CONFIG },
		{ "public", "ssh-ed25519 AAAA", "holds no private key", 16, ERR_CONFIG },
		{ "longest", long_text, "", SSH_KEY_TEXT_MAX - 1, 0 },
		{ "too long", long_text, "is longer than", SSH_KEY_TEXT_MAX, ERR_CONFIG },
		{ "far too long", long_text, "is longer than", SSH_KEY_TEXT_MAX + 1, ERR_CONFIG },
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		why = (struct fault){ 0 };
		write_file(key_path, rows[i].text, rows[i].n);
		check_row(rows[i].name, ssh_key_read(&k, key_path, NULL, &why) == rows[i].want);
		check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
	}
	check(ssh_key_read(&k, "/nonexistent/key", NULL, NULL) == ERR_SYS);
	check(ssh_key_read(&k, dir, NULL, NULL) == ERR_CONFIG); /* a folder */
}

/* A key without what opens it is no key: nothing of it stays. */
static void test_passphrase_that_is_not_there(void)
{
	static struct ssh_key k;
	struct fault why = { 0 };
	char pipe_path[80];

	write_file(key_path, KEY, strlen(KEY));
	check(ssh_key_read(&k, key_path, "/nonexistent/words", &why) == ERR_SYS);
	check(is_wiped(&k) && strstr(why.why, "passphrase"));
	snprintf(pipe_path, sizeof(pipe_path), "%s/pipe", dir);
	must(mkfifo(pipe_path, 0600) == 0);
	check(ssh_key_read(&k, key_path, pipe_path, NULL) ==
	      ERR_CONFIG); /* and no wait for a writer */
	unlink(pipe_path);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "no file", test_no_file_is_no_key },
		{ "key and passphrase", test_key_and_passphrase },
		{ "no key", test_what_is_no_key },
		{ "no passphrase", test_passphrase_that_is_not_there },
	};

	must(mkdtemp(dir));
	snprintf(key_path, sizeof(key_path), "%s/key", dir);
	snprintf(words_path, sizeof(words_path), "%s/words", dir);
	const int rc = run_cases("ssh_key", cases, array_len(cases));
	unlink(key_path);
	unlink(words_path);
	rmdir(dir);
	return rc;
}
