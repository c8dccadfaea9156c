package toolbridge_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/hubtest"
)

// write writes a file for a hub, and returns its path.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate returns the files of a new certificate for 127.0.0.1, and what trusts it.
func certificate(t *testing.T) (certFile, keyFile string, trusted *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	certFile = write(t, "cert.pem", public)
	keyFile = write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return certFile, keyFile, &tls.Config{RootCAs: pool}
}

func startHub(t *testing.T, address string, arguments ...string) *hubtest.Hub {
	t.Helper()
	started, err := hubtest.Start(address, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(started.Stop)
	return started
}

func TestAHubWithTLSAndATokenAdmitsWhoHasBoth(t *testing.T) {
	certFile, keyFile, trusted := certificate(t)
	secure := startHub(t, "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile, "--token-file", write(t, "token", []byte("right-token")))
	client := newClient(t, secure.Address, toolbridge.WithTLS(trusted), toolbridge.WithToken("right-token"))
	if serving, err := client.Health(testContext(t)); err != nil || !serving {
		t.Errorf("its health is %v, %v", serving, err)
	}
	_, err := toolbridge.Dial(testContext(t), secure.Address, toolbridge.WithTLS(trusted), toolbridge.WithToken("wrong-token"))
	if !errors.Is(err, toolbridge.ErrUnauthenticated) {
		t.Errorf("a wrong token gave %+v", err)
	}
	worker := toolbridge.NewWorker(secure.Address, toolbridge.WithTLS(trusted), toolbridge.WithToken("wrong-token"))
	if err := worker.Run(testContext(t)); !errors.Is(err, toolbridge.ErrUnauthenticated) {
		t.Errorf("a worker with a wrong token ended with %+v", err)
	}
}

func TestAHubAtAUnixSocketIsReached(t *testing.T) {
	local := startHub(t, "unix:"+filepath.Join(t.TempDir(), "hub.sock"))
	session := newSession(t, local.Address)
	if sum, err := toolbridge.Call[int](testContext(t), session, "add", 2, 3); err != nil || sum != 5 {
		t.Errorf("it gave %d, %v", sum, err)
	}
}
