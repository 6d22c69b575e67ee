-- Bare tables of the same shape as howdah's: same columns that move, same indexes, no triggers, no checks, no partitions.
drop schema if exists howdah_bench cascade;
create schema howdah_bench;
create table howdah_bench.task (
  id         bigint generated always as identity primary key,
  kind       text not null,
  queue      text not null,
  status     text not null default 'queued',
  priority   int not null,
  run_at     timestamptz not null,
  payload    jsonb not null,
  attempt    int not null default 0,
  epoch      bigint not null default 0,
  worker     uuid,
  claimed_at timestamptz,
  created_at timestamptz not null default clock_timestamp()
);
create index on howdah_bench.task (queue, priority desc, run_at, id) where status = 'queued';
create index on howdah_bench.task (worker) where status = 'running';
create table howdah_bench.archive (
  id bigint not null, kind text not null, queue text not null, status text not null, priority int not null,
  run_at timestamptz not null, payload jsonb not null, attempt int not null, epoch bigint not null, worker uuid,
  claimed_at timestamptz, created_at timestamptz not null, finished_at timestamptz not null
);
create index on howdah_bench.archive (id);
