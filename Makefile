# make run, make test and make demo install what they need.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME    ?= 60s
export CGO_ENABLED ?= 0

.PHONY: build run demo test lint fuzz bench clean tools

build: ## two static files, bin/band and bin/banctl
	$(GO) build -trimpath -ldflags "-X band/internal/version.version=$(VERSION)" -o bin/ ./cmd/...

run: build ## protect this host with the shipped jails, until interrupted
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; exec $$sudo ./bin/band

demo: build tools ## an attack and its end, in network namespaces of its own
	./packaging/demo.sh

# The tests in cmd build and run the commands, which Go's cache of test results
# does not know: hence -count=1.
test: tools lint ## everything that CI runs
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 10m $(GOTEST_FLAGS) ./...

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

tools: ## what the tests need from the system
	@command -v nft >/dev/null && command -v ip >/dev/null && command -v gcc >/dev/null || ./packaging/test-tools.sh

clean:
	rm -rf bin
