#include "lib/proto/ssh/ssh_kexinit.h"

#include <stdio.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"

#define AES	 "aes128-gcm@openssh.com"
#define CHACHA	 "chacha20-poly1305@openssh.com"
#define STRICT_S "kex-strict-s-v00@openssh.com"

/* A KEXINIT of a peer, list by list. */
static size_t message(uint8_t *to, size_t cap, const char *kex, const char *key, const char *cipher,
		      const char *compression, bool guess)
{
	const char *lists[] = { kex, key,	  cipher, cipher, "hmac-md5",
				"",  compression, "none", "",	  "en" };
	struct ssh_writer w = ssh_writer_of(to, cap);

	ssh_put_u8(&w, SSH_MSG_KEXINIT);
	ssh_put_bytes(&w, span_of("0123456789abcdef", 16));
	for (size_t i = 0; i < array_len(lists); i++)
		ssh_put_str(&w, lists[i]);
	ssh_put_u8(&w, guess);
	ssh_put_u32(&w, 0);
	check(!w.full);
	return w.n;
}

static const struct ssh_offer client = { .kex = SSH_KEX_DEFAULT_LIST,
					 .host_keys = SSH_HOSTKEY_DEFAULT_LIST,
					 .ciphers = CHACHA "," AES,
					 .strict_marker = true };

static const struct {
	const char *name, *kex, *key, *cipher, *compression;
	bool server, guess;
	int want;
	const char *kex_want, *key_want, *cipher_want;
	bool strict, skip;
	const char *why;
} rows[] = {
	{ "go server", "mlkem768x25519-sha256,curve25519-sha256," STRICT_S, "ecdsa-sha2-nistp256",
	  AES "," CHACHA, "none", false, false, 0, "curve25519-sha256", "ecdsa-sha2-nistp256",
	  CHACHA, true, false, "" },
	{ "strict without chacha", "ecdh-sha2-nistp256," STRICT_S, "rsa-sha2-256", AES, "none,zlib",
	  false, false, 0, "ecdh-sha2-nistp256", "rsa-sha2-256", AES, true, false, "" },
	{ "not strict", "curve25519-sha256", "ssh-ed25519", AES, "none", false, false, 0,
	  "curve25519-sha256", "ssh-ed25519", AES, false, false, "" },
	{ "chacha, not strict", "curve25519-sha256", "ssh-ed25519", CHACHA, "none", false, false,
	  ERR_ALGO, "", "", "", false, false,
	  CHACHA " would be used, but the peer cannot do strict key exchange" },
	{ "marker of the wrong side", "curve25519-sha256,kex-strict-c-v00@openssh.com",
	  "ssh-ed25519", AES, "none", false, false, 0, "curve25519-sha256", "ssh-ed25519", AES,
	  false, false, "" },
	{ "right guess", "curve25519-sha256", "ssh-ed25519", AES, "none", false, true, 0,
	  "curve25519-sha256", "ssh-ed25519", AES, false, false, "" },
	{ "wrong guess of kex", "ecdh-sha2-nistp256,curve25519-sha256", "ssh-ed25519", AES, "none",
	  false, true, 0, "curve25519-sha256", "ssh-ed25519", AES, false, true, "" },
	{ "wrong guess of key", "curve25519-sha256", "ssh-rsa,ssh-ed25519", AES, "none", false,
	  true, 0, "curve25519-sha256", "ssh-ed25519", AES, false, true, "" },
	{ "a client's order counts", "ecdh-sha2-nistp256,curve25519-sha256,ext-info-c",
	  "rsa-sha2-512,ssh-ed25519", AES "," CHACHA, "none", true, false, 0, "ecdh-sha2-nistp256",
	  "rsa-sha2-512", AES, false, false, "" },
	{ "no kex", "diffie-hellman-group14-sha1\x1b[2J", "ssh-ed25519", AES, "none", false, false,
	  ERR_ALGO, "", "", "", false, false,
	  "no common key exchange: the peer offers diffie-hellman-group14-sha1?[2J" },
	{ "no key", "curve25519-sha256", "ssh-dss", AES, "none", false, false, ERR_ALGO, "", "", "",
	  false, false, "no common host key type: the peer offers ssh-dss" },
	{ "no cipher", "curve25519-sha256", "ssh-ed25519", "3des-cbc,none", "none", false, false,
	  ERR_ALGO, "", "", "", false, false, "no common cipher: the peer offers 3des-cbc,none" },
	{ "empty", "", "", "", "", false, false, ERR_ALGO, "", "", "", false, false,
	  "no common key exchange: the peer offers " },
	{ "zlib", "curve25519-sha256", "ssh-ed25519", AES, "zlib", false, false, ERR_ALGO, "", "",
	  "", false, false, "no common compression: the peer offers zlib" },
};

static void test_negotiation(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		uint8_t bytes[2048];
		struct ssh_offer mine = client;
		struct ssh_agreed a;
		struct fault why = { 0 };
		mine.is_server = rows[i].server;
		const size_t n = message(bytes, sizeof(bytes), rows[i].kex, rows[i].key,
					 rows[i].cipher, rows[i].compression, rows[i].guess);
		const int rc = ssh_kexinit_read(&a, &mine, span_of(bytes, n), &why);
		check_row(rows[i].name, rc == rows[i].want);
		check_row(rows[i].name, strcmp(why.why, rows[i].why) == 0);
		if (rc < 0 || rows[i].want < 0)
			continue;
		check_row(rows[i].name, strcmp(a.kex->name, rows[i].kex_want) == 0);
		check_row(rows[i].name, strcmp(a.host_key->name, rows[i].key_want) == 0);
		check_row(rows[i].name, strcmp(a.to_server->name, rows[i].cipher_want) == 0);
		check_row(rows[i].name, a.to_server == a.to_client);
		check_row(rows[i].name, a.strict == rows[i].strict);
		check_row(rows[i].name, a.skip_guess == rows[i].skip);
	}
}

static void test_every_cut_is_refused(void)
{
	uint8_t bytes[2048];
	const size_t n = message(bytes, sizeof(bytes), "curve25519-sha256", "ssh-ed25519", AES,
				 "none", false);
	for (size_t cut = 1; cut < n; cut++) {
		struct fence f;
		struct ssh_agreed a;
		struct fault why = { 0 };
		fence_init(&f, bytes, cut);
		check(ssh_kexinit_read(&a, &client, span_of(f.p, f.n), &why) == ERR_PROTO);
		fence_fini(&f);
	}
}

static void test_a_long_offer_is_cut_in_the_sentence(void)
{
	static char many[1200];
	static uint8_t bytes[8192];
	struct ssh_agreed a;
	struct fault why = { 0 };

	memset(many, 'x', sizeof(many) - 1);
	const size_t n = message(bytes, sizeof(bytes), "curve25519-sha256", "ssh-ed25519", many,
				 "none", false);
	check(ssh_kexinit_read(&a, &client, span_of(bytes, n), &why) == ERR_ALGO);
	check(strlen(why.why) < 230 && strcmp(why.why + strlen(why.why) - 4, "x...") == 0);
}

static void test_write_is_read(void)
{
	uint8_t bytes[SSH_KEXINIT_MAX];
	for (int server = 0; server < 2; server++)
		for (int marker = 0; marker < 2; marker++) {
			struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
			struct ssh_offer mine = client, theirs = client;
			struct ssh_agreed a;
			struct fault why = { 0 };
			theirs.is_server = server;
			theirs.strict_marker = marker;
			theirs.ciphers = AES;
			mine.is_server = !server;
			ssh_kexinit_write(&w, &theirs, (const uint8_t *)"0123456789abcdef");
			check(!w.full);
			check(ssh_kexinit_read(&a, &mine, ssh_written(&w), &why) == 0);
			check(a.strict == (marker == 1) && !a.skip_guess);
			check(ssh_kexinit_is_strict(ssh_written(&w), server) == (marker == 1));
		}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "negotiation", test_negotiation },
		{ "cuts", test_every_cut_is_refused },
		{ "long offer", test_a_long_offer_is_cut_in_the_sentence },
		{ "write and read", test_write_is_read },
	};
	return run_cases("ssh_kexinit", cases, array_len(cases));
}
