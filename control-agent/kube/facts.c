/* Reads what the machine and the pod say of themselves; nothing of the Kubernetes API. */
#include "control-agent/kube/facts.h"

#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "lib/io/file.h"

#define GIB (1ull << 30)

static void read_mounted_token(struct facts *out, const char *dir)
{
	char path[PATH_MAX], text[sizeof(out->service_token) + 1];
	struct identity s = { 0 };

	snprintf(path, sizeof(path), "%s/token", dir);
	struct fault inner = { 0 };
	const int n = file_read(text, sizeof(text), path, FILE_TEXT | FILE_TRIM, NULL, &inner);
	if (n < 0)
		fault_set(&out->token_trouble, inner.code, "ServiceAccount token %.230s",
			  inner.why);
	else if (n == 0)
		fault_set(&out->token_trouble, ERR_CONFIG, "ServiceAccount token %.150s is empty",
			  path);
	else if (identity_set(&s, "cluster_token", span_of(text, (size_t)n), NULL) < 0)
		fault_set(&out->token_trouble, ERR_CONFIG,
			  "ServiceAccount token %.150s holds no token", path);
	else
		memcpy(out->service_token, s.cluster_token, sizeof(s.cluster_token));
	out->in_cluster = out->service_token[0];
	explicit_bzero(text, sizeof(text));
	explicit_bzero(&s, sizeof(s));
}

static void read_machine(struct facts *out)
{
	struct sysinfo mem;
	struct statvfs disk;
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);

	out->os = "linux";
	out->cpu_cores = cores > 0 ? (uint64_t)cores : 0;
	if (sysinfo(&mem) == 0)
		out->memory_gb = ((uint64_t)mem.totalram * mem.mem_unit + GIB - 1) / GIB;
	if (statvfs("/", &disk) == 0)
		out->disk_gb = ((uint64_t)disk.f_blocks * disk.f_frsize + GIB - 1) / GIB;
}

void facts_read(struct facts *out, const struct facts_places *from)
{
	*out = (struct facts){ 0 };
	if (from->node_name[0])
		snprintf(out->hostname, sizeof(out->hostname), "%.255s", from->node_name);
	else if (gethostname(out->hostname, sizeof(out->hostname) - 1) < 0)
		out->hostname[0] = '\0';
	read_machine(out);
	if (from->service_account_dir)
		read_mounted_token(out, from->service_account_dir);
	if (!out->service_token[0])
		snprintf(out->service_token, sizeof(out->service_token), "%s", from->kept_token);
}

void facts_agent_id(char to[128], const char *hostname)
{
	char seed[256 + 64], machine[64] = "", host[100];
	uint8_t digest[EVP_MAX_MD_SIZE] = { 0 };
	size_t n = 0;

	if (file_read(machine, sizeof(machine), "/etc/machine-id", FILE_TRIM, NULL, NULL) < 0)
		machine[0] = '\0';
	snprintf(seed, sizeof(seed), "%s\n%s", hostname, machine);
	(void)EVP_Digest(seed, strlen(seed), digest, NULL, EVP_sha256(), NULL);
	for (const char *c = hostname; *c && n < sizeof(host) - 1; c++) {
		const char one[2] = { *c, '\0' };
		host[n++] = identity_is_id(one) || *c == '-' || *c == '.' ? *c : '-';
	}
	host[n] = '\0';
	snprintf(to, 128, "agent-%s-%02x%02x%02x", n ? host : "host", digest[0], digest[1],
		 digest[2]);
}
