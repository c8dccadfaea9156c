module driver

go 1.24.0

require github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go v0.0.0

require (
	golang.org/x/net v0.35.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	golang.org/x/text v0.22.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20250218202821-56aae31c358a // indirect
	google.golang.org/grpc v1.72.2 // indirect
	google.golang.org/protobuf v1.36.6 // indirect
)

replace github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go => ../../../sdk/go
