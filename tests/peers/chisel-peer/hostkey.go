package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"

	"golang.org/x/crypto/ssh"
)

// hostKey makes a key of the kind asked for.  A seed gives the same Ed25519 or
// ECDSA key each time; a file keeps any kind across restarts.
func hostKey(kind, seed, file string) (ssh.Signer, error) {
	if file != "" {
		if text, err := os.ReadFile(file); err == nil {
			return ssh.ParsePrivateKey(text)
		}
	}
	key, err := newKey(kind, seed)
	if err != nil {
		return nil, err
	}
	if file != "" {
		if err := saveKey(file, key); err != nil {
			return nil, err
		}
	}
	return ssh.NewSignerFromKey(key)
}

func newKey(kind, seed string) (crypto.Signer, error) {
	sum := sha256.Sum256([]byte("chisel-peer " + seed))
	switch kind {
	case "ed25519":
		if seed != "" {
			return ed25519.NewKeyFromSeed(sum[:]), nil
		}
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "ecdsa":
		if seed != "" {
			return ecdsaFrom(sum[:]), nil
		}
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa":
		if seed != "" {
			return nil, fmt.Errorf("--host-key-seed gives no RSA key; take --host-key-file")
		}
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("--host-key %q: ed25519, ecdsa, ecdsa384 or rsa", kind)
}

func ecdsaFrom(seed []byte) *ecdsa.PrivateKey {
	curve := elliptic.P256()
	d := new(big.Int).SetBytes(seed)
	d.Mod(d, new(big.Int).Sub(curve.Params().N, big.NewInt(1)))
	d.Add(d, big.NewInt(1))
	key := &ecdsa.PrivateKey{D: d}
	key.Curve = curve
	key.X, key.Y = curve.ScalarBaseMult(d.Bytes())
	return key
}

func saveKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return os.WriteFile(file, text, 0o600)
}
