package toolbridge

import (
	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/hooks"
)

func init() {
	hooks.ErrorOf = func(code codes.Code, message string, info *pb.ErrorInfo) error {
		return errorOfStatus(code, message, info)
	}
	hooks.InfoOf = func(err error) (*pb.ErrorInfo, codes.Code) {
		own := errorFrom(err)
		return own.info(), own.code()
	}
}
