-- For tasks this worker owns: their rows are locked or running, so inbox_seq counts what is visible, and no more.
create or replace function howdah.inboxes(ids bigint[], after bigint default 0, at_most int default 500) returns text
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return (select json_agg(json_build_array(t.id, t.inbox_seq, coalesce(m.more, false), coalesce(m.letters, '[]')))::text
    from howdah.task t
    cross join lateral (
      select json_agg(json_build_array(x.id, x.sender, x.type, x.body) order by x.id) filter (where x.fits) as letters, bool_or(not x.fits) as more
        from (select y.*, row_number() over inbox <= inboxes.at_most and (row_number() over inbox = 1 or sum(pg_column_size(y.body)) over inbox <= 1000000) as fits
                from (select z.* from howdah.message z where z.task_id = t.id and z.id > inboxes.after order by z.id limit inboxes.at_most + 1) y
              window inbox as (order by y.id)) x
    ) m
   where t.id = any (inboxes.ids));
end
$$;
comment on function howdah.inboxes(bigint[], bigint, int) is
  'The inboxes of running tasks as JSON, [id, inbox_seq, more, [[message id, sender, type, body], …]]: at most at_most messages of each, and a megabyte; more says whether there are others.';
