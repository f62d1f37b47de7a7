package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ErrUnreachable is what every error of a [Client] wraps when no daemon
// answers.
var ErrUnreachable = errors.New("cannot reach band")

// A Client asks a daemon. It is safe for concurrent use.
type Client struct {
	http *http.Client
}

// NewClient returns a Client for the socket at path. It does not connect yet.
func NewClient(path string) *Client {
	return &Client{&http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}},
	}}
}

// Status asks whether the daemon is protecting.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Bans asks for the bans in force.
func (c *Client) Bans(ctx context.Context) (bans []Ban, err error) {
	return bans, c.do(ctx, http.MethodGet, "/v1/bans", nil, &bans)
}

// Explain asks for all that is known of an address or prefix.
func (c *Client) Explain(ctx context.Context, unit Unit) (e Explanation, err error) {
	return e, c.do(ctx, http.MethodGet, "/v1/explain?unit="+url.QueryEscape(unit.String()), nil, &e)
}

// Ban bans by hand. It returns when the bans are in the kernel and on the disk.
func (c *Client) Ban(ctx context.Context, r BanRequest) (done Changed, err error) {
	return done, c.do(ctx, http.MethodPost, "/v1/ban", r, &done)
}

// Unban lifts bans. It returns when that is in the kernel and on the disk.
func (c *Client) Unban(ctx context.Context, r UnbanRequest) (done Changed, err error) {
	return done, c.do(ctx, http.MethodPost, "/v1/unban", r, &done)
}

// Allowlist asks for the entries of the allowlist.
func (c *Client) Allowlist(ctx context.Context) (entries []Allowed, err error) {
	return entries, c.do(ctx, http.MethodGet, "/v1/allow", nil, &entries)
}

// Allow puts entries on the allowlist. It returns when the kernel and the disk
// know it.
func (c *Client) Allow(ctx context.Context, r AllowRequest) (done AllowChanged, err error) {
	return done, c.do(ctx, http.MethodPost, "/v1/allow", r, &done)
}

// Disallow takes entries off the allowlist. It returns when the kernel and the
// disk know it.
func (c *Client) Disallow(ctx context.Context, r DisallowRequest) (done AllowChanged, err error) {
	return done, c.do(ctx, http.MethodPost, "/v1/disallow", r, &done)
}

// Reload asks the daemon to read its configuration again.
func (c *Client) Reload(ctx context.Context) (done Reloaded, err error) {
	return done, c.do(ctx, http.MethodPost, "/v1/reload", nil, &done)
}

// Watch calls see with what happens from now on, until ctx ends, the daemon
// stops, which is no error, or see returns an error. Begun is called once, when
// nothing that happens from then on is missed.
func (c *Client) Watch(ctx context.Context, begun func(), see func(Event) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://band/v1/watch", nil)
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	endless := *c.http
	endless.Timeout = 0
	response, err := endless.Do(request)
	if err != nil {
		return unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refused(response)
	}
	begun()
	events := json.NewDecoder(response.Body)
	for {
		var e Event
		switch err := events.Decode(&e); {
		case ctx.Err() != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the answer: %w", err)
		}
		if err := see(e); err != nil {
			return err
		}
	}
}

// unreachable is the error of a request that got no answer.
func unreachable(err error) error {
	if urlErr := (*url.Error)(nil); errors.As(err, &urlErr) {
		err = urlErr.Err // without the made-up URL
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// do asks and reads the answer. An error wraps [ErrUnreachable] or
// [ErrRefused], or is the daemon's own text.
func (c *Client) do(ctx context.Context, method, path string, ask, answer any) error {
	var body io.Reader
	if ask != nil {
		raw, err := json.Marshal(ask)
		if err != nil {
			return fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://band"+path, body)
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refused(response)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// refused is the error that an answer tells.
func refused(response *http.Response) error {
	var f failure
	if err := json.NewDecoder(response.Body).Decode(&f); err != nil {
		return fmt.Errorf("the daemon answered %s", response.Status)
	}
	if response.StatusCode == http.StatusConflict {
		return refusal{f.Error}
	}
	return errors.New(f.Error)
}

// refusal is the daemon's own text and still an ErrRefused.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }
func (refusal) Unwrap() error   { return ErrRefused }
