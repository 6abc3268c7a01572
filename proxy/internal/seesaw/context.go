package seesaw

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// NewContext is what Seesaw's own healthchecker says about itself: trusted,
// with its component, process id and user. The engine tests AuthType alone.
func NewContext() *Context {
	ctx := &Context{
		AuthType: AuthTrusted,
		Peer: Peer{
			Component: ComponentHealthcheck,
			Identity:  fmt.Sprintf("healthcheck [pid %d]", os.Getpid()),
		},
		User: User{UID: strconv.Itoa(os.Getuid())},
	}
	if u, err := user.Current(); err == nil {
		ctx.User.UID, ctx.User.Username = u.Uid, u.Username
	}
	return ctx
}
