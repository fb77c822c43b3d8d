package main

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/poly1305"
)

// sealer is one direction's cipher; a nil *sealer is none.
type sealer struct {
	gcm   cipher.AEAD
	nonce [12]byte // of GCM; its last 8 bytes count
	// of chacha20-poly1305@openssh.com
	body, length []byte
}

func newSealer(name string, key func(n int) []byte, iv []byte) *sealer {
	if name == "chacha20-poly1305@openssh.com" {
		k := key(64)
		return &sealer{body: k[:32], length: k[32:]}
	}
	n := 16
	if name == "aes256-gcm@openssh.com" {
		n = 32
	}
	block, err := aes.NewCipher(key(n))
	if err != nil {
		fail(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		fail(err)
	}
	return &sealer{gcm: gcm, nonce: [12]byte(iv)}
}

func (s *sealer) block() int {
	if s != nil && s.gcm != nil {
		return 16
	}
	return 8
}

func (s *sealer) step() {
	binary.BigEndian.PutUint64(s.nonce[4:], binary.BigEndian.Uint64(s.nonce[4:])+1)
}

func stream(key []byte, seq uint32, block uint32) *chacha20.Cipher {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint32(nonce[8:], seq)
	c, err := chacha20.NewUnauthenticatedCipher(key, nonce)
	if err != nil {
		fail(err)
	}
	c.SetCounter(block)
	return c
}

func (s *sealer) tag(seq uint32, p []byte) [16]byte {
	var key [32]byte
	var tag [16]byte
	stream(s.body, seq, 0).XORKeyStream(key[:], key[:])
	poly1305.Sum(&tag, p, &key)
	return tag
}

// head is four bytes that say the length n, as the cipher has them.
func (s *sealer) head(seq uint32, n uint32) []byte {
	p := binary.BigEndian.AppendUint32(nil, n)
	if s != nil && s.gcm == nil {
		stream(s.length, seq, 0).XORKeyStream(p, p)
	}
	return p
}

// seal makes a packet of what follows the length: padding length, payload, padding.
func (s *sealer) seal(seq uint32, inside []byte) []byte {
	head := s.head(seq, uint32(len(inside)))
	switch {
	case s == nil:
		return append(head, inside...)
	case s.gcm != nil:
		out := s.gcm.Seal(head, s.nonce[:], inside, head)
		s.step()
		return out
	}
	out := append(head, inside...)
	stream(s.body, seq, 1).XORKeyStream(out[4:], out[4:])
	tag := s.tag(seq, out)
	return append(out, tag[:]...)
}

func (s *sealer) open(seq uint32, r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	plain := bytes.Clone(head)
	if s != nil && s.gcm == nil {
		stream(s.length, seq, 0).XORKeyStream(plain, plain)
	}
	n := int(binary.BigEndian.Uint32(plain))
	if n > 1<<20 {
		return nil, fmt.Errorf("a packet of %d bytes", n)
	}
	if s == nil {
		p := make([]byte, n)
		_, err := io.ReadFull(r, p)
		return p, err
	}
	p := make([]byte, n+16)
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, err
	}
	if s.gcm != nil {
		out, err := s.gcm.Open(nil, s.nonce[:], p, head)
		s.step()
		return out, err
	}
	if tag := s.tag(seq, append(head, p[:n]...)); !bytes.Equal(tag[:], p[n:]) {
		return nil, errors.New("a packet that is not authentic")
	}
	stream(s.body, seq, 1).XORKeyStream(p[:n], p[:n])
	return p[:n], nil
}

// transport is the packets of one connection.
type transport struct {
	ws           *wsConn
	r            *bufio.Reader
	rx, tx       *sealer
	rxSeq, txSeq uint32
	out          []byte // sealed, not sent yet
}

const batch = 32 << 10 // bytes of one WebSocket message, about

func (t *transport) readPacket() ([]byte, error) {
	p, err := t.rx.open(t.rxSeq, t.r)
	if err != nil {
		return nil, err
	}
	t.rxSeq++
	if len(p) < 1 || int(p[0])+1 > len(p) {
		return nil, errors.New("a packet of padding")
	}
	return p[1 : len(p)-int(p[0])], nil
}

// padded is a payload with its padding, so that all fills blocks; with size the
// packet has exactly that length.
func (t *transport) padded(payload []byte, size int) []byte {
	block, head := t.tx.block(), 0
	if t.tx == nil {
		head = 4
	}
	pad := block - (1+len(payload)+head)%block
	if pad < 4 {
		pad += block
	}
	if t.tx == nil && 1+len(payload)+pad < 12 {
		pad += block
	}
	if size > 0 {
		pad = size - 1 - len(payload)
	}
	p := append([]byte{byte(pad)}, payload...)
	padding := make([]byte, pad)
	rand.Read(padding)
	return append(p, padding...)
}

// inside queues a packet of exactly these bytes after its length.
func (t *transport) inside(p []byte) error {
	t.out = append(t.out, t.tx.seal(t.txSeq, p)...)
	t.txSeq++
	if len(t.out) >= batch {
		return t.flush()
	}
	return nil
}

func (t *transport) packet(payload []byte) error {
	return t.inside(t.padded(payload, 0))
}

func (t *transport) flush() error {
	if len(t.out) == 0 {
		return nil
	}
	_, err := t.ws.Write(t.out)
	t.out = t.out[:0]
	return err
}
