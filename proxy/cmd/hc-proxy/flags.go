package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/hc-server/hc/proxy/internal/metrics"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/server"
)

// settings is the command line, judged.
type settings struct {
	engineSocket   string
	serverSocket   string
	fetchInterval  time.Duration
	notifyInterval time.Duration
	dryRun         bool
	keep           bool
	printChecks    bool
	shadow         bool
	// Of the shadow mode: its report, "-" for standard output; Seesaw's log, ""
	// for none; the slack of its comparison.
	shadowOutput, shadowLog string
	shadowTolerance         time.Duration
	// metrics is where to serve them, both empty for nowhere.
	metricsNetwork, metricsAddress string
	// ignored has Seesaw's flags that were set and do nothing.
	ignored []string
}

func (s *settings) serverName() string {
	if s.dryRun {
		return "none, since this is a dry run"
	}
	return s.serverSocket
}

// parse reads the command line into a flag set that may have more flags, such as
// glog's. Without settings the program ends with the code.
//
// Seesaw's flags are all there (healthcheck/core.go), so that a stock
// watchdog.cfg starts this program; those that are hc-server's business now are
// taken and warned about.
func parse(flags *flag.FlagSet, args []string) (*settings, int) {
	s := &settings{}
	flags.Init(flags.Name(), flag.ContinueOnError)
	flags.StringVar(&s.engineSocket, "engine", seesaw.DefaultEngineSocket, "Seesaw Engine Socket")
	flags.StringVar(&s.serverSocket, "socket", server.DefaultSocket, "hc-server's socket")
	flags.DurationVar(&s.fetchInterval, "fetch_interval", 15*time.Second,
		"The time between healthcheck config fetches from the Engine")
	flags.BoolVar(&s.keep, "keep", true,
		"Keeps what hc-server tells and tells it to the engine again from here; otherwise hc-server tells all of it again")
	flags.BoolVar(&s.dryRun, "dry_run", false, "Skips actual check and always return healthy as result; needs no hc-server")
	flags.DurationVar(&s.notifyInterval, "notify_interval", 15*time.Second,
		"The time between notifications in a dry run; otherwise a setting of hc-server")
	flags.BoolVar(&s.printChecks, "print-checks", false,
		"Fetches the checks once, prints them as hc-server would be told, a JSON object a line, and exits; needs no hc-server")
	flags.BoolVar(&s.shadow, "shadow", false,
		"Runs beside seesaw_healthcheck: tells the engine nothing and reports where hc-server differs from Seesaw (docs/shadow.md)")
	flags.StringVar(&s.shadowOutput, "shadow_output", "-", "The report of -shadow, which is appended to; - is standard output")
	flags.StringVar(&s.shadowLog, "shadow_log", "",
		"The log of the seesaw_healthcheck that runs, for -shadow to compare each check; without it only backends are compared")
	flags.DurationVar(&s.shadowTolerance, "shadow_tolerance", 2*time.Second,
		"How much longer than an interval and a timeout of its check a difference may last before -shadow reports it as one of verdict")
	address := flags.String("metrics", "",
		"Where to serve Prometheus metrics under /metrics: host:port, or the path of a Unix socket; nowhere by default")
	const elsewhere = "No effect, for compatibility with Seesaw: a setting of hc-server"
	flags.Duration("batch_delay", 100*time.Millisecond, elsewhere)
	flags.Int("batch_size", 100, elsewhere)
	flags.Int("channel_size", 1000, elsewhere)
	flags.Int("max_failures", 10, elsewhere)
	flags.Duration("retry_delay", 2*time.Second, elsewhere)
	showVersion := flags.Bool("version", false, "Prints the version and exits")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil, 0
	case err != nil:
		return nil, 2
	case *showVersion:
		fmt.Println("hc-proxy", version)
		return nil, 0
	case flags.NArg() > 0:
		usage(flags, fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
		return nil, 2
	case s.fetchInterval <= 0:
		usage(flags, "-fetch_interval must be above 0")
		return nil, 2
	case s.notifyInterval <= 0:
		usage(flags, "-notify_interval must be above 0")
		return nil, 2
	}
	if *address != "" {
		var err error
		if s.metricsNetwork, s.metricsAddress, err = metrics.ParseAddress(*address); err != nil {
			usage(flags, "-metrics: "+err.Error())
			return nil, 2
		}
	}
	if problem := s.shadowProblem(flags); problem != "" {
		usage(flags, problem)
		return nil, 2
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Usage == elsewhere || f.Name == "notify_interval" && !s.dryRun {
			s.ignored = append(s.ignored, f.Name)
		}
	})
	return s, 0
}

// shadowProblem is what is wrong with the flags of the shadow mode.
func (s *settings) shadowProblem(flags *flag.FlagSet) string {
	problem := ""
	flags.Visit(func(f *flag.Flag) {
		if strings.HasPrefix(f.Name, "shadow_") && !s.shadow {
			problem = "-" + f.Name + " needs -shadow"
		}
	})
	switch {
	case s.shadow && s.dryRun:
		return "-shadow and -dry_run exclude each other: a dry run has no verdicts to compare"
	case s.shadowTolerance < 0:
		return "-shadow_tolerance must not be negative"
	}
	return problem
}
