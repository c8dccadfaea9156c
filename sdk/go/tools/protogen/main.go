// Protogen writes the Go code of proto/dspex_bridge.proto, with nothing but Go: the compiler and the generator are
// modules, pinned in the go.mod and go.sum of tools.
//
//	go run -C sdk/go/tools ./protogen [-check]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	source     = "dspex_bridge.proto"
	importPath = "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// Relative to the folder tools.
var (
	protoDir = filepath.FromSlash("../../../proto")
	target   = filepath.FromSlash("../bridgepb/dspex_bridge.pb.go")
)

func main() {
	check := flag.Bool("check", false, "fail if the committed file differs from what the proto gives")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	fresh, err := generate()
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(target, fresh, 0o644)
	}
	committed, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	if !bytes.Equal(committed, fresh) {
		return fmt.Errorf("bridgepb is stale; run 'make proto-go' and commit the result")
	}
	return nil
}

// generate returns the Go code of the proto.
func generate() ([]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{protoDir}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), source)
	if err != nil {
		return nil, err
	}
	parameter := "paths=source_relative,M" + source + "=" + importPath
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		Parameter:      &parameter,
		ProtoFile:      withImports(files[0], map[string]bool{}),
	}
	plugin, err := protogen.Options{}.New(normalized(request))
	if err != nil {
		return nil, err
	}
	for _, file := range plugin.Files {
		if file.Generate {
			internal_gengo.GenerateFile(plugin, file)
		}
	}
	response := plugin.Response()
	if response.Error != nil {
		return nil, fmt.Errorf("%s", response.GetError())
	}
	return []byte(response.File[0].GetContent()), nil
}

// withImports returns a file's descriptor after those of its imports.
func withImports(file protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[file.Path()] {
		return nil
	}
	seen[file.Path()] = true
	var all []*descriptorpb.FileDescriptorProto
	for i := range file.Imports().Len() {
		all = append(all, withImports(file.Imports().Get(i).FileDescriptor, seen)...)
	}
	return append(all, protodesc.ToFileDescriptorProto(file))
}

// normalized makes the compiler's own option messages those of the generator.
func normalized(request *pluginpb.CodeGeneratorRequest) *pluginpb.CodeGeneratorRequest {
	data, err := proto.Marshal(request)
	if err != nil {
		panic(err)
	}
	fresh := new(pluginpb.CodeGeneratorRequest)
	if err := proto.Unmarshal(data, fresh); err != nil {
		panic(err)
	}
	return fresh
}
