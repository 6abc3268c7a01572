module github.com/hc-server/hc/proxy/seesawtest

go 1.26.0

tool (
	github.com/google/seesaw/binaries/seesaw_cli
	github.com/google/seesaw/binaries/seesaw_engine
	github.com/google/seesaw/binaries/seesaw_healthcheck
)

require (
	github.com/google/seesaw v0.0.0-20260711100515-7bfd4f8c5491
	github.com/hc-server/hc/proxy v0.0.0
	github.com/miekg/dns v1.1.51
	google.golang.org/grpc v1.85.0
)

require (
	github.com/dlintw/goconf v0.0.0-20120228082610-dcc070983490 // indirect
	github.com/golang/glog v1.2.5 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/term v0.46.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	golang.org/x/tools v0.49.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/hc-server/hc/proxy => ../
