package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate is one row: a server certificate for tunnel.example.org with one
// thing changed.
type certificate struct {
	name   string
	change func(*x509.Certificate)
	key    func() (crypto.Signer, error) // nil: P-256
	self   bool                          // signed by itself
	stray  bool                          // signed by a CA that nobody trusts
}

const hostName = "tunnel.example.org"

func names(all ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = all }
}

// sans writes the subjectAltName by hand: Go would refuse some.
func sans(values ...asn1.RawValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = nil, nil
		der, err := asn1.Marshal(values)
		if err != nil {
			fail(err)
		}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}
	}
}

func dns(name string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)}
}

func rsaKey(bits int) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }
}

var certificates = []certificate{
	{name: "good"},
	{name: "good-wildcard", change: names("*.example.org")},
	{name: "good-address", change: func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	}},
	{name: "expired", change: func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Minute)
	}},
	{name: "future", change: func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().AddDate(1, 0, 0)
	}},
	{name: "wrong-host", change: names("tunnel.example.com", "example.org", "x.tunnel.example.org")},
	{name: "partial-wildcard", change: names("tun*.example.org")},
	{name: "deep-wildcard", change: names("*.org")},
	{name: "bare-wildcard", change: names("*")},
	{name: "cn-only", change: func(c *x509.Certificate) { c.DNSNames = nil }},
	{name: "wrong-usage", change: func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}},
	{name: "self-signed", self: true},
	{name: "stray-ca", stray: true},
	{name: "nul-in-san", change: sans(dns(hostName + "\x00.evil.example.com"))},
	{name: "nul-in-front", change: sans(dns("\x00" + hostName))},
	{name: "address-as-name", change: sans(dns("127.0.0.1"))},
	{name: "weak-key", key: rsaKey(1024)},
	{name: "no-san", change: func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "*.example.org" }},
}

func write(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func authority(name string) (*x509.Certificate, crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(2, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	return c, key, der, err
}

// writeCertificates makes ca.pem and NAME.pem, NAME.key of every row.
func writeCertificates(folder string) error {
	ca, caKey, der, err := authority("e2e evil-peer")
	if err != nil {
		return err
	}
	if err := write(filepath.Join(folder, "ca.pem"), "CERTIFICATE", der); err != nil {
		return err
	}
	stray, strayKey, _, err := authority("e2e stray")
	if err != nil {
		return err
	}
	for i, row := range certificates {
		key, err := row.newKey()
		if err != nil {
			return err
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: hostName},
			DNSNames: []string{hostName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 2),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if row.change != nil {
			row.change(c)
		}
		by, byKey := ca, caKey
		if row.stray {
			by, byKey = stray, strayKey
		}
		if row.self {
			by, byKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
		if err != nil {
			return err
		}
		if err := row.save(folder, der, key); err != nil {
			return err
		}
		say("certificate", map[string]any{"name": row.name})
	}
	return nil
}

func (row certificate) newKey() (crypto.Signer, error) {
	if row.key != nil {
		return row.key()
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (row certificate) save(folder string, der []byte, key crypto.Signer) error {
	if err := write(filepath.Join(folder, row.name+".pem"), "CERTIFICATE", der); err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return write(filepath.Join(folder, row.name+".key"), "PRIVATE KEY", secret)
}
