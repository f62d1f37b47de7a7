package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// maxRequest is how many bytes of a request's body are read.
const maxRequest = 1 << 20

// maxConnections is how many may be open at once. Others wait for their turn, which
// comes soon: a connection without a request is closed after two seconds.
const maxConnections = 256

// Group is the group that may use the socket, where it exists.
const Group = "band"

// Listen opens the Unix socket at path with mode 0660 for root and the group
// "band" where that group exists, else 0600. A socket that a dead daemon left
// behind is replaced; one that answers is an error.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("open the control socket: %s exists and is not a socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("open the control socket: another band already answers at %s", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open the control socket: %w", err)
		}
	}
	// The socket must never be open to others, not even before chmod: it is
	// made in a directory that only we can enter, and moved to its place.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".band-")
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // it will not be there
	err = errors.Join(permit(made), os.Rename(made, path))
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return l, nil
}

func permit(path string) error {
	group, err := user.LookupGroup(Group)
	if err != nil {
		return os.Chmod(path, 0o600)
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660))
}

// Serve answers on l until ctx ends, and closes it.
func Serve(ctx context.Context, l net.Listener, b Backend, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler(b),
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      time.Minute, // no Client waits longer
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	server.SetKeepAlivesEnabled(false) // a connection that waits takes the place of another
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	err := server.Serve(netutil.LimitListener(l, maxConnections))
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the control socket: %w", err)
}

func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := b.Status(r.Context())
		answer(w, status, err)
	})
	mux.HandleFunc("GET /v1/bans", func(w http.ResponseWriter, r *http.Request) {
		bans, err := b.Bans(r.Context())
		answer(w, bans, err)
	})
	mux.HandleFunc("GET /v1/explain", func(w http.ResponseWriter, r *http.Request) {
		unit, err := ParseUnit(r.URL.Query().Get("unit"))
		if err != nil {
			answer(w, nil, badRequest{err})
			return
		}
		explanation, err := b.Explain(r.Context(), unit)
		answer(w, explanation, err)
	})
	mux.HandleFunc("GET /v1/allow", func(w http.ResponseWriter, r *http.Request) {
		allowed, err := b.Allowlist(r.Context())
		answer(w, allowed, err)
	})
	mux.HandleFunc("GET /metrics", b.Metrics)
	mux.HandleFunc("POST /v1/ban", order(b.Ban))
	mux.HandleFunc("POST /v1/unban", order(b.Unban))
	mux.HandleFunc("POST /v1/allow", order(b.Allow))
	mux.HandleFunc("POST /v1/disallow", order(b.Disallow))
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		reloaded, err := b.Reload(r.Context())
		answer(w, reloaded, err)
	})
	mux.HandleFunc("GET /v1/watch", func(w http.ResponseWriter, r *http.Request) {
		out := http.NewResponseController(w)
		events := json.NewEncoder(w)
		begun := false
		err := b.Watch(r.Context(), func() error {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			// The flush tells the one who asks that it begins. The time in which a
			// request must be read would end the answer too.
			return errors.Join(out.SetReadDeadline(time.Time{}), out.Flush())
		}, func(e Event) error {
			return errors.Join(out.SetWriteDeadline(time.Now().Add(watchPatience)), events.Encode(e), out.Flush())
		})
		if !begun {
			answer(w, nil, err) // else it is the error of one who hung up
		}
	})
	return mux
}

// watchPatience is how long one who watches may take to read an event.
const watchPatience = 10 * time.Second

// order handles requests that carry a body.
func order[Request, Answer any](do func(context.Context, Request) (Answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := decode(w, r, &request); err != nil {
			answer(w, nil, err)
			return
		}
		done, err := do(r.Context(), request)
		answer(w, done, err)
	}
}

// badRequest is an error of the one who asked.
type badRequest struct{ error }

// failure is the body of an answer that is not 200.
type failure struct {
	Error string `json:"error"`
}

func decode(w http.ResponseWriter, r *http.Request, to any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return badRequest{fmt.Errorf("read the request: %w", err)}
	}
	return nil
}

func answer(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		code := http.StatusInternalServerError
		switch {
		case errors.As(err, new(badRequest)):
			code = http.StatusBadRequest
		case errors.Is(err, ErrRefused):
			code = http.StatusConflict
		}
		w.WriteHeader(code)
		body = failure{err.Error()}
	}
	json.NewEncoder(w).Encode(body) // the error of one who hung up
}
