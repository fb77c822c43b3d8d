package main

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// plain is an SSH server without a WebSocket around it, for ssh:// clients.  It
// finishes the key exchange with a key of its own that nobody trusts, then sends
// one packet of a length of the test's choosing: the first that the client
// decrypts, before it has looked at the host key.
type plain struct {
	key     ed25519.PrivateKey
	ciphers []string
	before  string // the identification, without the end of a line
}

const ctr = "aes128-ctr"

func plainMain(args []string) {
	f := flag.NewFlagSet("plain", flag.ExitOnError)
	lengths := f.String("lengths", "8", "of the first packet, one a connection, in turn")
	ciphers := f.String("ciphers", "aes128-gcm@openssh.com,"+ctr, "what is offered")
	before := f.Int("before", 0, "bytes in front of the identification, on the same line")
	f.Parse(args)
	sum := sha256.Sum256([]byte("evil-peer plain"))
	s := &plain{key: ed25519.NewKeyFromSeed(sum[:]), ciphers: strings.Split(*ciphers, ","),
		before: strings.Repeat("x", *before)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	say("ready", map[string]any{"port": l.Addr().(*net.TCPAddr).Port, "pid": os.Getpid(),
		"fingerprint": base64.StdEncoding.EncodeToString(make([]byte, 32))})
	for _, text := range strings.Split(*lengths, ",") {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			fail(err)
		}
		c, err := l.Accept()
		if err != nil {
			fail(err)
		}
		agreed, err := s.serve(c, uint32(n))
		what := map[string]any{"length": n, "cipher": agreed, "error": ""}
		if err != nil {
			what["error"] = err.Error()
		}
		say("played", what)
		c.Close()
	}
	l.Close()
	say("done", map[string]any{})
	select {}
}

// lists are the name lists of a KEXINIT (RFC 4253, 7.1).
func lists(m []byte) ([]string, error) {
	if len(m) < 17 || m[0] != msgKexinit {
		return nil, errors.New("no KEXINIT")
	}
	all, rest := []string{}, m[17:]
	for range 10 {
		name, more, err := take(rest)
		if err != nil {
			return nil, err
		}
		all, rest = append(all, name), more
	}
	return all, nil
}

// agree is the client's first cipher from server to client that is offered here.
func (s *plain) agree(theirs []byte) (string, error) {
	names, err := lists(theirs)
	if err != nil {
		return "", err
	}
	for _, name := range strings.Split(names[3], ",") {
		if slices.Contains(s.ciphers, name) {
			return name, nil
		}
	}
	return "", fmt.Errorf("no cipher in common with %q", names[3])
}

func (s *plain) kexinit() []byte {
	m := append([]byte{msgKexinit}, make([]byte, 16)...)
	rand.Read(m[1:])
	all := strings.Join(s.ciphers, ",")
	for _, list := range []string{kexName, hostKeyEd25519, all, all, "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""} {
		m = str(m, list)
	}
	return append(m, 0, 0, 0, 0, 0)
}

// serve is one connection; it returns the cipher that was agreed.
func (s *plain) serve(c net.Conn, length uint32) (string, error) {
	t := &transport{r: bufio.NewReader(c)}
	ident, err := t.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	const own = "SSH-2.0-evil"
	mine := s.kexinit()
	out := append([]byte(s.before+own+"\r\n"), t.tx.seal(0, t.padded(mine, 0))...)
	if _, err := c.Write(out); err != nil {
		return "", err
	}
	theirs, err := t.readPacket()
	if err != nil {
		return "", err
	}
	agreed, err := s.agree(theirs)
	if err != nil {
		return "", err
	}
	half, err := t.readPacket()
	if err != nil {
		return agreed, err
	}
	q, _, err := take(half[1:])
	if err != nil {
		return agreed, err
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return agreed, err
	}
	peer, err := ecdh.X25519().NewPublicKey([]byte(q))
	if err != nil {
		return agreed, err
	}
	secret, err := private.ECDH(peer)
	if err != nil {
		return agreed, err
	}
	blob := str(str(nil, hostKeyEd25519), string(s.key.Public().(ed25519.PublicKey)))
	all := str(str(nil, strings.TrimRight(ident, "\r\n")), own)
	all = str(str(str(all, string(theirs)), string(mine)), string(blob))
	all = mpint(str(str(all, q), string(private.PublicKey().Bytes())), secret)
	hash := sha256.Sum256(all)
	signature := str(str(nil, hostKeyEd25519), string(ed25519.Sign(s.key, hash[:])))
	reply := str(str(str([]byte{msgEcdhReply}, string(blob)), string(private.PublicKey().Bytes())), string(signature))
	out = t.tx.seal(0, t.padded(reply, 0))
	out = append(out, t.tx.seal(0, t.padded([]byte{msgNewkeys}, 0))...)
	out = append(out, firstPacket(agreed, secret, hash[:], length)...)
	if _, err := c.Write(out); err != nil {
		return agreed, err
	}
	// Until the client leaves: what it does with the packet is what is tested.
	for {
		if _, err := t.r.ReadByte(); err != nil {
			return agreed, nil
		}
	}
}

// firstPacket is the head of a packet that claims a length, and 4 KiB of noise.
func firstPacket(agreed string, secret, hash []byte, length uint32) []byte {
	derive := deriver(secret, hash, hash)
	p := binary.BigEndian.AppendUint32(nil, length)
	noise := make([]byte, 4096)
	rand.Read(noise)
	p = append(append(p, 4), noise...)
	if agreed == ctr {
		block, err := aes.NewCipher(derive('D', 16))
		if err != nil {
			fail(err)
		}
		cipher.NewCTR(block, derive('B', 16)).XORKeyStream(p, p)
	}
	return p
}
