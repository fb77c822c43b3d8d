package main

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

const (
	msgDisconnect  = 1
	msgKexinit     = 20
	msgNewkeys     = 21
	msgEcdhInit    = 30
	msgEcdhReply   = 31
	serverIdent    = "SSH-chisel-v3-server"
	strictMarker   = ",kex-strict-s-v00@openssh.com"
	kexName        = "curve25519-sha256"
	hostKeyEd25519 = "ssh-ed25519"
)

func str(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(p, uint32(len(s))), s...)
}

func mpint(p []byte, m []byte) []byte {
	for len(m) > 0 && m[0] == 0 {
		m = m[1:]
	}
	if len(m) > 0 && m[0]&0x80 != 0 {
		m = append([]byte{0}, m...)
	}
	return str(p, string(m))
}

// take cuts a string off the front.
func take(p []byte) (string, []byte, error) {
	if len(p) < 4 || int(binary.BigEndian.Uint32(p)) > len(p)-4 {
		return "", nil, errors.New("a string that is cut short")
	}
	n := int(binary.BigEndian.Uint32(p))
	return string(p[4 : 4+n]), p[4+n:], nil
}

func (s *server) hostKeyName() string {
	if s.rsaBits > 0 {
		return "rsa-sha2-256"
	}
	return hostKeyEd25519
}

func (s *server) hostBlob() []byte {
	if s.rsaBits == 0 {
		return str(str(nil, hostKeyEd25519), string(s.hostKey.Public().(ed25519.PublicKey)))
	}
	n := make([]byte, (s.rsaBits+7)/8)
	rand.Read(n)
	n[0] |= 0x80
	n[len(n)-1] |= 1
	return mpint(mpint(str(nil, "ssh-rsa"), big.NewInt(65537).Bytes()), n)
}

func (s *server) sign(hash []byte) []byte {
	if s.rsaBits == 0 {
		return str(str(nil, hostKeyEd25519), string(ed25519.Sign(s.hostKey, hash)))
	}
	noise := make([]byte, (s.rsaBits+7)/8)
	rand.Read(noise)
	noise[0] = 0
	return str(str(nil, "rsa-sha2-256"), string(noise))
}

func (p *player) kexinit(first bool) []byte {
	m := append([]byte{msgKexinit}, make([]byte, 16)...)
	rand.Read(m[1:])
	names := kexName
	if first && p.server.strict {
		names += strictMarker
	}
	m = str(str(m, names), p.server.hostKeyName())
	for _, list := range []string{p.server.cipher, p.server.cipher, "hmac-sha2-256-etm@openssh.com",
		"hmac-sha2-256-etm@openssh.com", "none", "none", "", ""} {
		m = str(m, list)
	}
	return append(m, 0, 0, 0, 0, 0)
}

// exchange is one key exchange, the first or a later one, with its places.
func (p *player) exchange(first bool) error {
	place := func(name string) error {
		if !first {
			name = "re-" + name
		}
		return p.play(name)
	}
	if err := place("kexinit"); err != nil {
		return err
	}
	mine := p.kexinit(first)
	if err := p.sendNow(mine); err != nil {
		return err
	}
	if err := place("method"); err != nil {
		return err
	}
	theirs, err := p.await(msgKexinit)
	if err != nil {
		return err
	}
	half, err := p.await(msgEcdhInit)
	if err != nil {
		return err
	}
	q, _, err := take(half[1:])
	if err != nil {
		return err
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey([]byte(q))
	if err != nil {
		return err
	}
	secret, err := key.ECDH(peer)
	if err != nil {
		return err
	}
	blob := p.server.hostBlob()
	all := str(str(nil, p.ident), serverIdent)
	all = str(str(str(all, string(theirs)), string(mine)), string(blob))
	all = mpint(str(str(all, q), string(key.PublicKey().Bytes())), secret)
	hash := sha256.Sum256(all)
	if first {
		p.session = hash[:]
	}
	reply := str(str([]byte{msgEcdhReply}, string(blob)), string(key.PublicKey().Bytes()))
	if err := p.sendNow(str(reply, string(p.server.sign(hash[:])))); err != nil {
		return err
	}
	if err := place("newkeys"); err != nil {
		return err
	}
	return p.newKeys(secret, hash[:], first)
}

// deriver makes keys and initialisation vectors (RFC 4253, 7.2).
func deriver(secret, hash, session []byte) func(letter byte, n int) []byte {
	return func(letter byte, n int) []byte {
		k := mpint(nil, secret)
		sum := sha256.Sum256(append(append(append(append([]byte{}, k...), hash...), letter), session...))
		out := sum[:]
		for len(out) < n {
			sum := sha256.Sum256(append(append(append([]byte{}, k...), hash...), out...))
			out = append(out, sum[:]...)
		}
		return out[:n]
	}
}

func (p *player) newKeys(secret, hash []byte, first bool) error {
	derive := deriver(secret, hash, p.session)
	side := func(iv, key byte) *sealer {
		return newSealer(p.server.cipher, func(n int) []byte { return derive(key, n) }, derive(iv, 12))
	}
	if err := p.sendNow([]byte{msgNewkeys}); err != nil {
		return err
	}
	p.t.tx = side('B', 'D')
	if p.server.strict {
		p.t.txSeq = 0
	}
	p.nextRx <- side('A', 'C')
	if _, err := p.await(msgNewkeys); err != nil {
		return err
	}
	if first {
		return p.play("keyed")
	}
	return nil
}

// await is the next message of the handshake, which must be of this type.
func (p *player) await(types ...byte) ([]byte, error) {
	m, ok := <-p.handshake
	if !ok {
		return nil, p.ended()
	}
	for _, t := range types {
		if m[0] == t {
			return m, nil
		}
	}
	return nil, fmt.Errorf("message %d where %v was awaited", m[0], types)
}
