package toolbridge_test

import (
	"context"
	"sync"
	"testing"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

// concurrently runs n calls of do, 100 at once.
func concurrently(b *testing.B, n int, do func() error) {
	b.Helper()
	var group sync.WaitGroup
	share := make(chan struct{}, n)
	for range n {
		share <- struct{}{}
	}
	close(share)
	for range 100 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range share {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	group.Wait()
}

func BenchmarkCallsAtOnce(b *testing.B) {
	session := newSession(b, hub.Address)
	b.ResetTimer()
	concurrently(b, b.N, func() error {
		_, err := toolbridge.Call[int](context.Background(), session, "add", 2, 3)
		return err
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkOneCallAtATime(b *testing.B) {
	session := newSession(b, hub.Address)
	for b.Loop() {
		if _, err := toolbridge.Call[int](context.Background(), session, "add", 2, 3); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWorkerCallsAtOnce(b *testing.B) {
	startWorker(b, hub.Address, workerTools()...)
	session := newSession(b, hub.Address)
	b.ResetTimer()
	concurrently(b, b.N, func() error {
		_, err := toolbridge.Call[int](context.Background(), session, "go_add", 2, 3)
		return err
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkStreamOfHub(b *testing.B) {
	benchmarkStream(b, newSession(b, hub.Address), "chunks")
}

func BenchmarkStreamOfWorker(b *testing.B) {
	startWorker(b, hub.Address, workerTools()...)
	benchmarkStream(b, newSession(b, hub.Address), "go_chunks")
}

// benchmarkStream reads pieces of 64 KiB.
func benchmarkStream(b *testing.B, session *toolbridge.Session, tool string) {
	const size = 64 << 10
	b.SetBytes(size)
	b.ResetTimer()
	read := 0
	for piece, err := range toolbridge.Stream[[]byte](context.Background(), session, tool, size, b.N) {
		if err != nil {
			b.Fatal(err)
		}
		read += len(piece)
	}
	if read != size*b.N {
		b.Fatalf("%d bytes came, not %d", read, size*b.N)
	}
}
