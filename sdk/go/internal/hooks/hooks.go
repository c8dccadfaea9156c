// Package hooks has what the peer for conformance needs of package toolbridge, and nobody else: it is not exported
// there. Package toolbridge sets it.
package hooks

import (
	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

var (
	// ErrorOf reads a *toolbridge.Error from a status and its ErrorInfo, which may be nil.
	ErrorOf func(code codes.Code, message string, info *pb.ErrorInfo) error
	// InfoOf writes a *toolbridge.Error, with the code of its status.
	InfoOf func(err error) (*pb.ErrorInfo, codes.Code)
)
