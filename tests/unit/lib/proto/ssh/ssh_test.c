#include "lib/proto/ssh/ssh.h"

#include "tests/support/famine.h"
#include "tests/unit/lib/proto/ssh/pair.h"

static void test_handshake_of_every_kind(void)
{
	static const char *const kexes[] = { "curve25519-sha256", "curve25519-sha256@libssh.org",
					     "ecdh-sha2-nistp256" };
	static const char *const ciphers[] = { "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
					       "chacha20-poly1305@openssh.com" };
	static const char *const host_keys[] = { "ssh-ed25519", "ecdsa-sha2-nistp256",
						 "rsa-sha2-512", "rsa-sha2-256" };
	for (size_t i = 0; i < 3 * 3 * 4; i++) {
		struct pair p = { .keys = { [PAIR_RSA] = pair_key(PAIR_RSA) } };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		s.host_keys_n = 3;
		c.kex = kexes[i % 3];
		c.ciphers = ciphers[i / 3 % 3];
		c.host_key_algos = host_keys[i / 9];
		pair_start(&p, &c, &s);
		check_row(c.kex, p.c.rc == 0 && p.s.rc == 0);
		check_row(c.host_key_algos, p.c.ready && p.s.ready);
		check_row(c.ciphers, strcmp(ssh_names(p.c.ssh)->cipher, c.ciphers) == 0);
		check(strcmp(ssh_names(p.s.ssh)->kex, c.kex) == 0);
		check(strcmp(ssh_names(p.s.ssh)->host_key, c.host_key_algos) == 0);
		check(strcmp(ssh_names(p.c.ssh)->peer_version, "SSH-chisel-v3-server") == 0);
		check(ssh_names(p.c.ssh)->strict && ssh_names(p.s.ssh)->strict);

		const int id = ssh_channel_open(p.c.ssh, "chisel", span_str("localhost:80"));
		check(id == 0);
		pair_run(&p);
		check_row(c.ciphers, p.c.events[SSH_EVENT_CHANNEL_OPENED] == 1);
		check(strcmp(p.s.name, "chisel") == 0 && strcmp(p.s.text, "localhost:80") == 0);
		uint8_t data[70000];
		pair_random(&p.seed, data, sizeof(data));
		check(ssh_channel_write(p.c.ssh, 0, data, sizeof(data)) == sizeof(data));
		check(ssh_channel_write(p.s.ssh, p.s.channel, data, 1) == 1);
		pair_run(&p);
		check_row(c.ciphers, p.s.got == sizeof(data) &&
				      p.s.hash == pair_mix(0, data, sizeof(data)));
		check(p.c.got == 1);
		if (p.c.rc || p.s.rc)
			printf("%s %s %s: %s / %s\n", c.kex, c.ciphers, c.host_key_algos,
			       ssh_fault(p.c.ssh)->why, ssh_fault(p.s.ssh)->why);
		pair_fini(&p);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "handshake of every kind", test_handshake_of_every_kind },
	};
	return run_cases("ssh", cases, array_len(cases));
}
