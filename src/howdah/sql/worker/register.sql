create or replace function howdah.register(
  worker      uuid,
  ttl         interval,
  host        text,
  pid         int,
  version     text,
  queues      jsonb,
  kinds       text[],
  concurrency int
) returns void
language sql
as $$
  insert into howdah.worker (id, lease_until, ttl, host, pid, version, queues, kinds, concurrency, started_at)
  values (register.worker, howdah.now() + register.ttl, register.ttl, register.host, register.pid, register.version,
          register.queues, register.kinds, register.concurrency, howdah.now())
$$;
comment on function howdah.register(uuid, interval, text, int, text, jsonb, text[], int) is
  'Begin a lease under a new random id. The id is used once: a worker that lost its lease registers again under another.';
