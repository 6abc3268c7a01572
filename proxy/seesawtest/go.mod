module github.com/hc-server/hc/proxy/seesawtest

go 1.26

tool (
	github.com/google/seesaw/binaries/seesaw_cli
	github.com/google/seesaw/binaries/seesaw_engine
	github.com/google/seesaw/binaries/seesaw_healthcheck
)

require (
	github.com/google/seesaw v0.0.0-20260711100515-7bfd4f8c5491
	github.com/hc-server/hc/proxy v0.0.0
	github.com/miekg/dns v1.1.51
)

require (
	github.com/dlintw/goconf v0.0.0-20120228082610-dcc070983490 // indirect
	github.com/golang/glog v1.2.4 // indirect
	github.com/golang/protobuf v1.5.0 // indirect
	golang.org/x/crypto v0.52.0 // indirect
	golang.org/x/mod v0.7.0 // indirect
	golang.org/x/net v0.55.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/term v0.43.0 // indirect
	golang.org/x/tools v0.3.0 // indirect
	google.golang.org/protobuf v1.33.0 // indirect
)

replace github.com/hc-server/hc/proxy => ../
