#include "lib/proto/ssh/ssh_fingerprint.h"

#include "tests/support/cases.h"

static void test_fingerprints(void)
{
	/* SHA-256 of nothing */
	static const char text[] = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
	static const uint8_t digest[32] = {
		0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
		0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
		0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
	};
	static const char *const same[] = { text, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
					    "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
					    "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" };
	static const char *const bad[] = { "", "SHA256:", "47DEQpj8HBSa", "ab:cd:ef:01",
					   "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU==",
					   "47DEQpj8HBSa+_TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" };
	char to[45];

	ssh_fingerprint_write(digest, to);
	check(strcmp(to, text) == 0);
	for (size_t i = 0; i < array_len(same); i++) {
		check_row(same[i], ssh_fingerprint_is(same[i], digest));
		check_row(same[i], ssh_fingerprint_check(same[i], NULL) == 0);
	}
	for (size_t i = 0; i < array_len(bad); i++) {
		check_row(bad[i], !ssh_fingerprint_is(bad[i], digest));
		check_row(bad[i], ssh_fingerprint_check(bad[i], NULL) == ERR_USAGE);
	}
	for (size_t i = 0; i < 32; i++) {
		uint8_t other[32];
		memcpy(other, digest, sizeof(other));
		other[i] ^= 1;
		check(!ssh_fingerprint_is(text, other));
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "fingerprints", test_fingerprints },
	};
	return run_cases("ssh_fingerprint", cases, array_len(cases));
}
