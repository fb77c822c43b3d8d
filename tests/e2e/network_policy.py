"""Whether a NetworkPolicy lets a packet through, by the rules of its API: for what rows of a test ask."""
import ipaddress


def is_in(address, block):
	ip, net = ipaddress.ip_address(address), ipaddress.ip_network(block["cidr"])
	return ip.version == net.version and ip in net and not any(
		ip in ipaddress.ip_network(x) for x in block.get("except", []))


def allows(spec, direction, address, protocol, port):
	"""True when one rule has both the far address and the port.  A direction of policyTypes without a rule
	is closed; one that policyTypes does not name is open.  Selectors of pods are no addresses: they match
	nothing here."""
	if direction.capitalize() not in spec["policyTypes"]:
		return True
	peers = {"ingress": "from", "egress": "to"}[direction]
	for rule in spec.get(direction, []):
		near = not rule.get(peers) or any(is_in(address, p["ipBlock"]) for p in rule[peers] if "ipBlock" in p)
		open_port = not rule.get("ports") or any(
			p.get("protocol", "TCP") == protocol and
			("port" not in p or p["port"] <= port <= p.get("endPort", p["port"])) for p in rule["ports"])
		if near and open_port:
			return True
	return False
