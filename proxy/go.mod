module github.com/hc-server/hc/proxy

go 1.26

require github.com/golang/glog v1.2.4
