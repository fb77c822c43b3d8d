"""What the API server, the kubelet or a container runtime would refuse of a pod, as sentences.

It judges meaning, not text: a manifest that the API server takes may still start on no node, as
one did whose pod had a runAsGroup and no runAsUser.  The rules are those that apply to fields
which our manifests use; a field that no rule knows is itself a refusal, so nobody adds one
unjudged.  manifests_test.py breaks a good pod in each of these ways."""
import re
import typing

FIELDS = {
	"pod": "serviceAccountName enableServiceLinks automountServiceAccountToken terminationGracePeriodSeconds "
	       "securityContext containers volumes",
	"pod securityContext": "runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile",
	"container": "name image terminationMessagePolicy env ports securityContext startupProbe livenessProbe "
		     "readinessProbe resources volumeMounts",
	"container securityContext": "runAsNonRoot runAsUser runAsGroup allowPrivilegeEscalation "
				     "readOnlyRootFilesystem capabilities seccompProfile",
	"probe": "exec httpGet periodSeconds timeoutSeconds failureThreshold terminationGracePeriodSeconds",
	"env": "name value valueFrom",
	"port": "name containerPort protocol",
	"mount": "name mountPath subPath readOnly",
	"volume": "name configMap emptyDir projected secret",
}
SCALE = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
FIELD_REFS = {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	      "status.hostIP", "status.podIP", "status.podIPs"}
FILE_REFS = {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"}
MADE_BY_THE_CLUSTER = {"kube-root-ca.crt": {"ca.crt"}}


class World(typing.NamedTuple):
	"""What stands beside the pod in its namespace."""

	config_maps: dict  # name: keys
	secrets: dict  # name: keys
	accounts: set
	users: dict  # image: its USER


def quantity(text):
	"""A quantity as a number, None where it is none."""
	got = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|M|G|Ki|Mi|Gi|)", str(text))
	return float(got.group(1)) * SCALE[got.group(2)] if got else None


def is_whole(n, least=0, most=2**31 - 1):
	return isinstance(n, int) and not isinstance(n, bool) and least <= n <= most


def twice(things):
	seen = set()
	return sorted({str(x) for x in things if x in seen or seen.add(x)})


def unknown(kind, what, value):
	for field in sorted(set(value) - set(FIELDS[kind].split())):
		yield f"{what}: no rule knows the field {field} of a {kind}"


def identity(pod, world):
	own = pod.get("securityContext", {})
	yield from unknown("pod securityContext", "pod", own)
	if "runAsGroup" in own and "runAsUser" not in own:
		# The sandbox container has the pod's identity and no other.
		yield "pod: the runtime starts no sandbox with a runAsGroup and no runAsUser"
	if own.get("runAsNonRoot") and own.get("runAsUser") == 0:
		yield "pod: runAsNonRoot and user 0"
	for c in pod["containers"]:
		context = c.get("securityContext", {})
		yield from unknown("container securityContext", c["name"], context)
		both = own | context
		for field in ("runAsUser", "runAsGroup", "fsGroup"):
			if field in both and not is_whole(both[field]):
				yield f"{c['name']}: {field} is no number of an id"
		if "runAsGroup" in both and "runAsUser" not in both:
			yield f"{c['name']}: the runtime starts no container with a runAsGroup and no runAsUser"
		user = str(both.get("runAsUser", world.users.get(c["image"], "").split(":")[0]))
		if both.get("runAsNonRoot") and not (user.isdigit() and int(user) > 0):
			yield f"{c['name']}: runAsNonRoot, and the user is {user or 'not named'}: the kubelet wants a number above 0"
		if both.get("seccompProfile", {}).get("type") not in (None, "RuntimeDefault", "Unconfined"):
			yield f"{c['name']}: a seccomp profile that no node has"


def source_faults(v, world):
	"""One volume."""
	kinds = set(v) - {"name"}
	yield from unknown("volume", f"volume {v['name']}", v)
	if len(kinds) != 1:
		yield f"volume {v['name']}: {len(kinds)} sources instead of one"
	parts = v.get("projected", {}).get("sources", [])
	for source in [*parts, *({k: v[k]} for k in ("configMap", "secret") if k in v)]:
		yield from keys_faults(v["name"], source, world)
	paths = [i["path"] for s in parts for kind in s.values() for i in kind.get("items", [kind] if "path" in kind else [])]
	for path in twice(paths):
		yield f"volume {v['name']}: two sources for {path}"
	for path in paths:
		if path.startswith("/") or ".." in path.split("/"):
			yield f"volume {v['name']}: the path {path} leaves it"
	empty = v.get("emptyDir", {})
	if "sizeLimit" in empty and quantity(empty["sizeLimit"]) is None:
		yield f"volume {v['name']}: sizeLimit {empty['sizeLimit']} is no quantity"
	if empty.get("medium", "") not in ("", "Memory"):
		yield f"volume {v['name']}: no medium {empty['medium']}"


def keys_faults(volume, source, world):
	"""One source of a volume: what it names has to exist."""
	for kind, known in (("configMap", world.config_maps | MADE_BY_THE_CLUSTER), ("secret", world.secrets)):
		if kind not in source:
			continue
		name = source[kind].get("name", source[kind].get("secretName"))
		keys = known.get(name)
		if keys is None and not source[kind].get("optional"):
			yield f"volume {volume}: there is no {kind} {name}"
		for item in source[kind].get("items", []):
			if keys is not None and item["key"] not in keys:
				yield f"volume {volume}: {kind} {name} has no key {item['key']}"
	token = source.get("serviceAccountToken")
	if token and not is_whole(token.get("expirationSeconds", 3600), least=600):
		yield f"volume {volume}: a token is good for 600 s at least"
	for item in source.get("downwardAPI", {}).get("items", []):
		if item.get("fieldRef", {}).get("fieldPath") not in FILE_REFS:
			yield f"volume {volume}: no field {item.get('fieldRef')} for a file"


def volumes(pod, world):
	listed = {v["name"]: v for v in pod.get("volumes", [])}
	for name in twice(v["name"] for v in pod.get("volumes", [])):
		yield f"volume {name} stands there twice"
	for v in listed.values():
		yield from source_faults(v, world)
	used = {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", [])}
	for name in sorted(set(listed) - used):
		yield f"volume {name} is mounted nowhere"
	for c in pod["containers"]:
		yield from mounts(c, listed, world)


def is_writable(mount, volume):
	return "emptyDir" in volume and not mount.get("readOnly", False)


def mounts(c, listed, world):
	"""One container's mounts."""
	own = c.get("volumeMounts", [])
	for path in twice(m["mountPath"].rstrip("/") for m in own):
		yield f"{c['name']}: two mounts at {path}"
	for m in own:
		at, volume = f"{c['name']}: {m['mountPath']}", listed.get(m["name"])
		yield from unknown("mount", at, m)
		if not m["mountPath"].startswith("/") or ":" in m["mountPath"]:
			yield f"{at} is no path for a mount"
		if volume is None:
			yield f"{at} is of volume {m['name']}, which there is not"
			continue
		sub = m.get("subPath", "")
		if sub.startswith("/") or ".." in sub.split("/"):
			yield f"{at}: the subPath {sub} leaves the volume"
		elif sub and "emptyDir" not in volume and sub not in files_of(volume, world):
			yield f"{at}: the kubelet can't make subPath {sub} in a volume that is read-only"
		for outer in own:
			inner = m["mountPath"].startswith(outer["mountPath"].rstrip("/") + "/")
			if inner and not is_writable(outer, listed.get(outer["name"], {})):
				yield f"{at}: the runtime can't make it within {outer['mountPath']}, which is read-only"


def files_of(volume, world):
	"""The first names in a volume that the kubelet fills."""
	found = set()
	for source in [volume, *volume.get("projected", {}).get("sources", [])]:
		for kind in (k for k in source.values() if isinstance(k, dict)):
			items = kind.get("items")
			known = (world.config_maps | world.secrets | MADE_BY_THE_CLUSTER).get(kind.get("name"), set())
			found |= {i["path"] for i in items} if items else {kind["path"]} if "path" in kind else set(known)
	return {path.split("/")[0] for path in found}


def ports_and_probes(c):
	ports = c.get("ports", [])
	for p in ports:
		yield from unknown("port", c["name"], p)
		if not is_whole(p.get("containerPort"), 1, 65535):
			yield f"{c['name']}: {p.get('containerPort')} is no port"
		if "name" in p and not re.fullmatch(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", p["name"]):
			yield f"{c['name']}: {p['name']} is no name for a port"
	for name in twice(p["name"] for p in ports if "name" in p):
		yield f"{c['name']}: two ports have the name {name}"
	for number in twice((p.get("containerPort"), p.get("protocol", "TCP")) for p in ports):
		yield f"{c['name']}: port {number} stands there twice"
	for kind in (k for k in PROBES if k in c):
		yield from probe_faults(f"{c['name']}'s {kind}", kind, c[kind], ports)


def probe_faults(what, kind, probe, ports):
	yield from unknown("probe", what, probe)
	if len({"exec", "httpGet"} & set(probe)) != 1:
		yield f"{what} does not say one way to ask"
	port = probe.get("httpGet", {}).get("port", 1)
	if isinstance(port, str) and port not in [p.get("name") for p in ports]:
		yield f"{what}: the container has no port of the name {port}"
	for field in ("periodSeconds", "timeoutSeconds", "failureThreshold", "terminationGracePeriodSeconds"):
		if field in probe and not is_whole(probe[field], least=1):
			yield f"{what}: {field} is no number from 1"
	if kind == "readinessProbe" and "terminationGracePeriodSeconds" in probe:
		yield f"{what}: a readiness probe ends nothing and has no grace"
	if "exec" in probe and not probe["exec"].get("command", [""])[0].startswith("/"):
		yield f"{what}: the command has no path"


def variables(c, world):
	for name in twice(e["name"] for e in c.get("env", [])):
		yield f"{c['name']}: variable {name} stands there twice"
	for e in c.get("env", []):
		yield from unknown("env", c["name"], e)
		if len({"value", "valueFrom"} & set(e)) != 1 or not isinstance(e.get("value", ""), str):
			yield f"{c['name']}: variable {e['name']} needs one value, a text"
		source = e.get("valueFrom", {})
		for kind, known in (("secretKeyRef", world.secrets), ("configMapKeyRef", world.config_maps)):
			ref = source.get(kind)
			if ref and not ref.get("optional") and ref["key"] not in known.get(ref["name"], ()):
				yield f"{c['name']}: variable {e['name']}: no key {ref['key']} of {ref['name']}"
		if "fieldRef" in source and source["fieldRef"]["fieldPath"] not in FIELD_REFS:
			yield f"{c['name']}: variable {e['name']}: no field {source['fieldRef']['fieldPath']}"


def resources(c, listed):
	sizes = c.get("resources", {})
	values = {(k, r): quantity(v) for k in ("requests", "limits") for r, v in sizes.get(k, {}).items()}
	for (kind, resource), value in values.items():
		if resource not in ("cpu", "memory", "ephemeral-storage"):
			yield f"{c['name']}: no resource {resource}"
		if value is None:
			yield f"{c['name']}: {kind} of {resource} are no quantity"
		elif kind == "requests" and value > (values.get(("limits", resource)) or value):
			yield f"{c['name']}: requests of {resource} above its limits"
	# What a container writes into memory counts as its own; over the limit the kernel ends it.
	held = sum(quantity(listed[m["name"]]["emptyDir"].get("sizeLimit", "1000Gi")) or 0 for m in c.get("volumeMounts", [])
		   if listed.get(m["name"], {}).get("emptyDir", {}).get("medium") == "Memory" and not m.get("readOnly"))
	limit = values.get(("limits", "memory"))
	if limit and held > limit / 2:
		yield f"{c['name']}: volumes in memory may take more than half of its memory limit"


def refusals(pod, world):
	"""All that somebody would refuse of this pod."""
	yield from unknown("pod", "pod", pod)
	if not is_whole(pod.get("terminationGracePeriodSeconds", 30)):
		yield "pod: terminationGracePeriodSeconds is no number"
	if pod.get("serviceAccountName", "default") not in world.accounts | {"default"}:
		yield f"pod: there is no ServiceAccount {pod['serviceAccountName']}"
	names = [c["name"] for c in pod["containers"]]
	for name in twice(names):
		yield f"two containers have the name {name}"
	for name in [*names, *(v["name"] for v in pod.get("volumes", []))]:
		if not re.fullmatch(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
			yield f"{name} is no name for a container or a volume"
	yield from identity(pod, world)
	yield from volumes(pod, world)
	listed = {v["name"]: v for v in pod.get("volumes", [])}
	for c in pod["containers"]:
		yield from unknown("container", c["name"], c)
		if c.get("terminationMessagePolicy", "File") not in ("File", "FallbackToLogsOnError"):
			yield f"{c['name']}: no terminationMessagePolicy {c['terminationMessagePolicy']}"
		yield from ports_and_probes(c)
		yield from variables(c, world)
		yield from resources(c, listed)
