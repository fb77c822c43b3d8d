#include "lib/io/tls_context.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cases.h"

static char dir[] = "/tmp/tls_context_XXXXXX";

static const char *path(const char *name)
{
	static char out[4][128];
	static int next;
	char *p = out[next++ % 4];

	snprintf(p, sizeof(out[0]), "%s/%s", dir, name);
	return p;
}

static FILE *create(const char *name)
{
	FILE *f = fopen(path(name), "w");

	must(f);
	return f;
}

/* A self-signed certificate and its key. */
static void write_pair(const char *cert, const char *key_name, EVP_PKEY *key)
{
	X509 *x = X509_new();

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	must(X509_sign(x, key, EVP_sha256()) > 0);
	FILE *f = create(cert);
	PEM_write_X509(f, x);
	fclose(f);
	f = create(key_name);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_free(x);
}

static char *slurp(const char *name, char *to, size_t cap)
{
	FILE *f = fopen(path(name), "r");

	must(f);
	to[fread(to, 1, cap - 1, f)] = '\0';
	fclose(f);
	return to;
}

/* Each line of `text` between two others. */
static void write_lines(const char *name, const char *text, const char *before, const char *after)
{
	FILE *f = create(name);

	for (const char *at = text; *at;) {
		const size_t n = strcspn(at, "\n");

		fprintf(f, "%s%.*s%s", before, (int)n, at, after);
		at += n + (at[n] == '\n');
	}
	fclose(f);
}

static void write_text(const char *name, const char *a, const char *b, const char *c)
{
	FILE *f = create(name);

	fprintf(f, "%s%s%s", a, b, c);
	fclose(f);
}

/* CA files that people have. */
static void make_ca_files(void)
{
	char one[2048], two[2048], key[2048];

	slurp("cert.pem", one, sizeof(one));
	slurp("other-cert.pem", two, sizeof(two));
	slurp("key.pem", key, sizeof(key));
	write_text("two.pem", one, "\nwords\n", two);
	write_lines("crlf.pem", one, "", "\r\n");
	write_lines("indented.pem", one, "  ", "\n");
	write_text("both.pem", one, key, "");
	write_text("cut.pem", one, "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmg\n", "");
	write_text("request.pem", "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n",
		   "-----END CERTIFICATE REQUEST-----\n", "");
	write_text("bytes.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n",
		   "-----END CERTIFICATE-----\n", "");
	two[60] = '!';
	write_text("broken.pem", one, two, one);
	FILE *f = create("der.pem");
	fputs("\x30\x82\x01\x01", f);
	fclose(f);
}

static void make_files(void)
{
	EVP_PKEY *ec = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	EVP_PKEY *rsa = EVP_RSA_gen(2048);

	must(mkdtemp(dir) && ec && other && rsa);
	write_pair("cert.pem", "key.pem", ec);
	write_pair("other-cert.pem", "other-key.pem", other);
	write_pair("rsa-cert.pem", "rsa-key.pem", rsa);
	FILE *f = create("locked-key.pem");
	PEM_write_PrivateKey(f, ec, EVP_aes_128_cbc(), NULL, 0, NULL, (void *)(uintptr_t) "secret");
	fclose(f);
	f = create("noise.pem");
	fputs("this is no certificate\n", f);
	fclose(f);
	fclose(create("empty.pem"));
	make_ca_files();
	EVP_PKEY_free(ec);
	EVP_PKEY_free(other);
	EVP_PKEY_free(rsa);
}

static void remove_files(void)
{
	static const char *const names[] = { "cert.pem",       "key.pem",      "other-cert.pem",
					     "other-key.pem",  "rsa-cert.pem", "rsa-key.pem",
					     "locked-key.pem", "noise.pem",    "empty.pem",
					     "two.pem",	       "crlf.pem",     "broken.pem",
					     "cut.pem",	       "bytes.pem",    "indented.pem",
					     "request.pem",    "both.pem",     "der.pem" };

	for (size_t i = 0; i < array_len(names); i++)
		unlink(path(names[i]));
	rmdir(dir);
}

static const struct row {
	const char *name;
	bool server;
	const char *ca, *cert, *key;
	const char *fault; /* a part of the sentence; NULL = success */
} rows[] = {
	{ "client, system store", false, NULL, NULL, NULL, NULL },
	{ "client, own CA", false, "cert.pem", NULL, NULL, NULL },
	{ "client, mutual", false, "cert.pem", "cert.pem", "key.pem", NULL },
	{ "server", true, NULL, "cert.pem", "key.pem", NULL },
	{ "server, RSA", true, NULL, "rsa-cert.pem", "rsa-key.pem", NULL },
	{ "CA missing", false, "none.pem", NULL, NULL, "none.pem: No such file or directory" },
	{ "CA noise", false, "noise.pem", NULL, NULL, "noise.pem: no PEM certificate in it" },
	{ "CA empty", false, "empty.pem", NULL, NULL, "empty.pem: no PEM certificate in it" },
	{ "CA is a key", false, "key.pem", NULL, NULL, "key.pem: it holds a private key" },
	{ "CA is a folder", false, "", NULL, NULL, "is no regular file" },
	{ "two CAs with words around", false, "two.pem", NULL, NULL, NULL },
	{ "CA of Windows", false, "crlf.pem", NULL, NULL, NULL },
	{ "a broken block among good ones", false, "broken.pem", NULL, NULL,
	  "broken.pem: block 2 is no certificate" },
	{ "a block that is cut short", false, "cut.pem", NULL, NULL, "cut.pem: block 2 is no" },
	{ "a block of other bytes", false, "bytes.pem", NULL, NULL, "block 1 is no certificate" },
	{ "indented", false, "indented.pem", NULL, NULL, "its lines are indented" },
	{ "a request", false, "request.pem", NULL, NULL, "block 1 is a CERTIFICATE REQUEST" },
	{ "CA and key in one", false, "both.pem", NULL, NULL, "it holds a private key" },
	{ "DER", false, "der.pem", NULL, NULL, "it is DER; convert it" },
	{ "server, nothing", true, NULL, NULL, NULL, "needs a certificate and a key file" },
	{ "server, no key", true, NULL, "cert.pem", NULL, "needs a key file" },
	{ "client, no certificate", false, NULL, NULL, "key.pem", "needs a key file" },
	{ "certificate missing", true, NULL, "none.pem", "key.pem", "certificate file" },
	{ "certificate noise", true, NULL, "noise.pem", "key.pem", "no PEM certificate in it" },
	{ "key missing", true, NULL, "cert.pem", "none.pem", "none.pem: No such file" },
	{ "key noise", true, NULL, "cert.pem", "noise.pem", "no PEM private key" },
	{ "key with passphrase", true, NULL, "cert.pem", "locked-key.pem", "without a passphrase" },
	{ "key of another", true, NULL, "cert.pem", "other-key.pem", "does not belong to" },
	{ "key of another kind", true, NULL, "cert.pem", "rsa-key.pem", "does not belong to" },
};

static void test_files(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		const struct row *r = &rows[i];
		const struct tls_context_options o = {
			.server = r->server,
			.ca_file = r->ca ? path(r->ca) : NULL,
			.cert_file = r->cert ? path(r->cert) : NULL,
			.key_file = r->key ? path(r->key) : NULL,
		};
		struct fault why = { 0 };
		SSL_CTX *ctx;
		const int rc = tls_context_new(&ctx, &o, &why);
		if (!check_row(r->name, (rc == 0) == !r->fault))
			puts(why.why);
		check_row(r->name, (ctx != NULL) == (rc == 0));
		if (r->fault) {
			check_row(r->name, rc == ERR_CONFIG && why.code == ERR_CONFIG);
			if (!check_row(r->name, strstr(why.why, r->fault) != NULL))
				puts(why.why);
		}
		SSL_CTX_free(ctx);
	}
}

static void test_policy(void)
{
	const struct tls_context_options checked = { .ca_file = path("cert.pem") };
	const struct tls_context_options unchecked = { .ca_file = path("none.pem"),
						       .skip_verify = true };
	SSL_CTX *ctx;

	check(tls_context_new(&ctx, &checked, NULL) == 0);
	check(SSL_CTX_get_verify_mode(ctx) == SSL_VERIFY_PEER);
	check(SSL_CTX_get_min_proto_version(ctx) == TLS1_2_VERSION);
	const unsigned flags = X509_VERIFY_PARAM_get_hostflags(SSL_CTX_get0_param(ctx));
	check(flags & X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	check(flags & X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ctx);
	check(strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, 0)),
		     "TLS_AES_128_GCM_SHA256") == 0);
	SSL_CTX_free(ctx);

	check(tls_context_new(&ctx, &unchecked, NULL) == 0);
	check(SSL_CTX_get_verify_mode(ctx) == SSL_VERIFY_NONE);
	SSL_CTX_free(ctx);
}

int main(void)
{
	static const struct test_case cases[] = { { "files", test_files },
						  { "policy", test_policy } };

	make_files();
	const int rc = run_cases("tls_context", cases, array_len(cases));
	remove_files();
	return rc;
}
