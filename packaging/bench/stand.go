package main

import (
	"context"
	"errors"
)

// A stand is a room, a peer that runs in it, and who watches its bans.
type stand struct {
	*room
	watch  *watch
	daemon *daemon
}

// stand makes a room in which a peer follows an empty log. Close ends all of it.
func (b *bench) stand(ctx context.Context, p peer, retries int) (*stand, error) {
	r, w, err := b.prepare(ctx, p, retries)
	if err != nil {
		return nil, err
	}
	s := &stand{room: r, watch: w}
	if err = appendTo(r.log(), nil); err == nil {
		s.daemon, err = start(ctx, r, p)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stand) close() (err error) {
	if s.daemon != nil {
		err = s.daemon.stop()
	}
	return errors.Join(err, s.watch.close(), s.room.close())
}

// prepare makes a room for a peer, which is configured, and watches it.
func (b *bench) prepare(ctx context.Context, p peer, retries int) (*room, *watch, error) {
	r, err := b.room(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := p.configure(r, retries); err != nil {
		return nil, nil, errors.Join(err, r.close())
	}
	w, err := r.watch(p)
	if err != nil {
		return nil, nil, errors.Join(err, r.close())
	}
	return r, w, nil
}
