create or replace function howdah.count_tasks(filter jsonb default '{}') returns table (kind text, queue text, status text, tasks bigint)
language plpgsql stable
as $$
begin
  return query execute format(
    'select t.kind, t.queue, t.status, count(*) from howdah.task t where %s group by t.kind, t.queue, t.status order by t.kind, t.queue, t.status',
    howdah.condition(count_tasks.filter));
end
$$;
comment on function howdah.count_tasks(jsonb) is 'How many live tasks a filter finds, by kind, queue and status: what retry_all, cancel_all, edit_all and export_tasks would go through.';
