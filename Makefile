# make run, make test and make demo install what they need.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME    ?= 60s
PREFIX      ?= /usr/local
export CGO_ENABLED ?= 0

.PHONY: build run demo test lint fuzz bench bench-peers soak clean tools install uninstall

build: ## two static files, bin/band and bin/banctl
	$(GO) build -trimpath -ldflags "-X band/internal/version.version=$(VERSION)" -o bin/ ./cmd/...

run: build ## protect this host with the shipped jails, until interrupted
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; exec $$sudo ./bin/band

# What install puts below PREFIX, and the directories that may be new there.
there     = $(DESTDIR)$(PREFIX)
installed = sbin/band bin/banctl lib/systemd/system/band.service lib/sysusers.d/band.conf lib/tmpfiles.d/band.conf \
	share/bash-completion/completions/banctl share/zsh/site-functions/_banctl share/fish/vendor_completions.d/banctl.fish
made      = lib/systemd/system lib/systemd lib/sysusers.d lib/tmpfiles.d share/bash-completion/completions \
	share/bash-completion share/zsh/site-functions share/zsh share/fish/vendor_completions.d share/fish

install: $(if $(wildcard bin/band),,build) ## what make build built, below DESTDIR and PREFIX; an older one is replaced
	install -d $(sort $(dir $(addprefix $(there)/,$(installed)))) $(DESTDIR)/etc/band/jails.d
	install bin/band $(there)/sbin
	install bin/banctl $(there)/bin
	install -m 644 packaging/band.sysusers $(there)/lib/sysusers.d/band.conf
	install -m 644 packaging/band.tmpfiles $(there)/lib/tmpfiles.d/band.conf
	umask 022; sed 's|/usr/local/|$(PREFIX)/|' packaging/band.service >$(there)/lib/systemd/system/band.service
	umask 022; bin/banctl completion bash >$(there)/share/bash-completion/completions/banctl
	umask 022; bin/banctl completion zsh >$(there)/share/zsh/site-functions/_banctl
	umask 022; bin/banctl completion fish >$(there)/share/fish/vendor_completions.d/banctl.fish
	[ -e $(DESTDIR)/etc/band/band.toml ] || install -m 644 packaging/band.toml $(DESTDIR)/etc/band
	@[ -n "$(DESTDIR)" ] || printf '%s\n' "band $(VERSION) is installed. It protects this host, now and after each boot, with:" \
		'    systemd-sysusers && systemctl daemon-reload && systemctl enable band && systemctl restart band'

uninstall: ## what install put there; configuration and state stay
	rm -f $(addprefix $(there)/,$(installed)) $(DESTDIR)/etc/systemd/system/multi-user.target.wants/band.service
	@for dir in $(made); do rmdir --ignore-fail-on-non-empty $(there)/$$dir 2>/dev/null || true; done
	@[ -n "$(DESTDIR)" ] || printf '%s\n' 'What stays: /etc/band, /var/lib/band, and a band that runs, with its bans. To end that too:' \
		'    systemctl daemon-reload; systemctl stop band; nft delete table inet band'

demo: build tools ## an attack and its end, in network namespaces of its own
	./packaging/demo.sh

# The tests in cmd build and run the commands, which Go's cache of test results
# does not know: hence -count=1.
test: tools lint ## everything that CI runs
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 14m $(GOTEST_FLAGS) ./...
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 5m $(GOTEST_FLAGS) -tags sdjournal ./internal/journal

lint:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt on:" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fuzz: ## each fuzz target for a minute, or FUZZTIME
	@set -e; for target in $$($(GO) list -f '{{range .TestGoFiles}}{{$$.Dir}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$$.Dir}}/{{.}} {{end}}' ./...); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$target); do \
			echo "== $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$(dirname $$target) || \
			{ ! git status --porcelain | grep testdata/fuzz; echo "(nothing found: go test failed because the time was over)"; }; \
		done; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-peers: build ## band beside fail2ban: writes docs/performance.md; takes three quarters of an hour and a quiet machine
	@for tool in fail2ban-server nft ip gnuplot perf; do command -v $$tool >/dev/null || exec ./packaging/bench/tools.sh; done
	as=env; [ "$$(id -u)" = 0 ] || as="sudo env PATH=$$PATH"; $(GO) run -exec "$$as" ./packaging/bench

soak: tools ## ten minutes of all that may befall a server; SEED=n repeats what befell it
	SOAK=10m SEED=$(SEED) $(GO) test -count=1 -timeout 30m -run '^TestSoak$$' -v ./cmd

tools: ## what the tests need from the system
	@for tool in nft ip gcc mmdebstrap journalctl; do command -v $$tool >/dev/null || exec ./packaging/test-tools.sh; done
	@[ -e /usr/include/systemd/sd-journal.h ] || ./packaging/test-tools.sh

clean:
	rm -rf bin
