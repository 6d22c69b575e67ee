-- Ten tasks for each of so many groups, in turns.
insert into howdah.task (kind, queue, priority, run_at, payload, groups)
select 'bench.noop', %(queue)s, 0, howdah.now(), '{"n": 1}', array['bench:' || n %% %(groups)s]
  from generate_series(1, %(tasks)s) n
