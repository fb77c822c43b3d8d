/*
 * tls_fault -- what a TLS connection failed of, as a sentence for an operator:
 * certificates that are refused, either side's, and alerts.  It takes notes while
 * OpenSSL judges and decides nothing.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/base/escape.h"
#include "lib/proto/tls_private.h"

/* ---- names of certificates ---- */

/* Appends what of `name` fits, as printable text; false when nothing does. */
static bool add_name(char *to, size_t n, const GENERAL_NAME *name)
{
	const size_t had = strlen(to);
	char text[80] = "";

	if (name->type == GEN_DNS)
		escape_text(text, sizeof(text),
			    span_of(ASN1_STRING_get0_data(name->d.dNSName),
				    (size_t)ASN1_STRING_length(name->d.dNSName)));
	else if (name->type == GEN_IPADD && ASN1_STRING_length(name->d.iPAddress) == 4)
		BIO_snprintf(text, sizeof(text), "%u.%u.%u.%u", name->d.iPAddress->data[0],
			     name->d.iPAddress->data[1], name->d.iPAddress->data[2],
			     name->d.iPAddress->data[3]);
	else if (name->type == GEN_IPADD)
		BIO_snprintf(text, sizeof(text), "an IPv6 address");
	if (!*text)
		return true;
	if (had + strlen(text) + 3 > n)
		return false;
	BIO_snprintf(to + had, n - had, "%s%s", had ? ", " : "", text);
	return true;
}

/* Whom the certificate is for: OpenSSL keeps none that it refused. */
static void note_names(struct tls *t, X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	t->other_names[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		if (!add_name(t->other_names, sizeof(t->other_names),
			      sk_GENERAL_NAME_value(names, i)))
			break;
	GENERAL_NAMES_free(names);
}

/* The issuer that was looked for, and how many certificates the server sent. */
static void note_issuer(struct tls *t, const X509 *cert, const STACK_OF(X509) * sent)
{
	const X509_NAME *name = cert ? X509_get_issuer_name(cert) : NULL;
	int at = name ? X509_NAME_get_index_by_NID(name, NID_commonName, -1) : -1;

	if (name && at < 0)
		at = X509_NAME_get_index_by_NID(name, NID_organizationName, -1);
	if (at >= 0) {
		const ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

		escape_text(t->issuer, sizeof(t->issuer),
			    span_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text)));
	}
	t->chain_n = sk_X509_num(sent);
}

int tls_note_verdict(int good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = ssl ? SSL_get_app_data(ssl) : NULL;
	const int verdict = X509_STORE_CTX_get_error(store);

	if (good || !t)
		return good;
	if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
		note_names(t, X509_STORE_CTX_get0_cert(store));
	else
		note_issuer(t, X509_STORE_CTX_get_current_cert(store),
			    X509_STORE_CTX_get0_untrusted(store));
	return good;
}

int tls_note_request(SSL *ssl, void *tls)
{
	(void)ssl;
	((struct tls *)tls)->asked = true;
	return 1;
}

/* ---- failures in words ---- */

/* An incomplete chain and a foreign CA are the same verdict: the user sees what
 * came and whose certificate is missing. */
static int fail_issuer(struct tls *t, const char *name)
{
	return fault_set(&t->fault, ERR_TRUST,
			 "the certificate of %s is refused: the server sent %d certificate%s, and "
			 "that of the issuer %s%s%s is neither among them nor in the CA file",
			 name, t->chain_n, t->chain_n == 1 ? "" : "s", *t->issuer ? "\"" : "",
			 *t->issuer ? t->issuer : "of the last one", *t->issuer ? "\"" : "");
}

static int fail_certificate(struct tls *t, long verdict)
{
	const char *name = *t->name ? t->name : "the server";
	const char *hint = "";

	if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
		return fault_set(&t->fault, ERR_TRUST,
				 "the certificate of %s is for other names: %s", name,
				 *t->other_names ? t->other_names : "no name at all");
	if (verdict == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	    verdict == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	    verdict == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
		return fail_issuer(t, name);
	if (verdict == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	    verdict == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
		hint = ": name the CA that issued it in the CA file";
	else if (verdict == X509_V_ERR_CERT_HAS_EXPIRED || verdict == X509_V_ERR_CERT_NOT_YET_VALID)
		hint = " (by the clock of this machine)";
	return fault_set(&t->fault, ERR_TRUST, "the certificate of %s is refused: %s%s", name,
			 X509_verify_cert_error_string(verdict), hint);
}

/* The first failure is often the last in a row that began with this one. */
static bool is_about_memory(void)
{
	unsigned long e;

	while ((e = ERR_get_error()) != 0)
		if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE)
			return true;
	return false;
}

/* Alerts with which servers refuse a client's certificate, or that there is none
 * (RFC 8446, 6.2; RFC 5246, 7.2.2).  Some say handshake_failure for both. */
static bool is_about_our_certificate(int alert)
{
	switch (alert) {
	case SSL_AD_HANDSHAKE_FAILURE:
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_ACCESS_DENIED:
	case SSL_AD_CERTIFICATE_REQUIRED:
		return true;
	default:
		return false;
	}
}

static int fail_alert(struct tls *t, int alert, const char *text)
{
	if (!t->asked || !is_about_our_certificate(alert))
		return fault_set(&t->fault, ERR_PROTO, "the peer ended TLS with an alert: %s",
				 text);
	if (SSL_get_certificate(t->ssl))
		return fault_set(&t->fault, ERR_AUTH, "the server refused our TLS certificate: %s",
				 text);
	return fault_set(&t->fault, ERR_AUTH,
			 "the server wants a TLS certificate of its clients and none is "
			 "configured (certificate and key file): %s",
			 text);
}

int tls_fail(struct tls *t)
{
	const unsigned long e = ERR_peek_error();
	const long verdict = SSL_get_verify_result(t->ssl);
	const int reason = ERR_GET_REASON(e);
	const char *text = ERR_reason_error_string(e);

	if (t->fault.code)
		return t->fault.code;
	if (is_about_memory())
		return fault_set(&t->fault, ERR_NOMEM, "no memory for TLS");
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED &&
	    verdict != X509_V_OK)
		return fail_certificate(t, verdict);
	if (ERR_GET_LIB(e) == ERR_LIB_SSL &&
	    (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
	     reason == SSL_R_PACKET_LENGTH_TOO_LONG) &&
	    !t->open)
		return fault_set(&t->fault, ERR_PROTO,
				 "the peer does not speak TLS on this port (%s)", text);
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET &&
	    reason <= SSL_AD_REASON_OFFSET + UINT8_MAX)
		return fail_alert(t, reason - SSL_AD_REASON_OFFSET, text ? text : "unknown");
	return fault_set(&t->fault, ERR_PROTO, "TLS: %s", text ? text : "protocol error");
}
